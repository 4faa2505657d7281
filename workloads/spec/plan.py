"""A plan: every choice that a run is made of, decided once from what the sites and the link turned out to be."""

from math import prod
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from workloads.spec.base import Frozen, SiteName

Bits = Literal[2, 4, 8, 32]
Precision = Literal["fp32", "bf16"]


class Layout(Frozen):
    """How a site's workers share one model. The product of all degrees is the number of workers.

    `replicas` hold the same part and train on different samples (DDP, or HSDP with `shards`); `shards` split every
    parameter (FSDP2); `tensor` splits matrices (tensor parallel); `pipeline` splits layers into stages.
    """

    replicas: PositiveInt = 1
    shards: PositiveInt = 1
    tensor: PositiveInt = 1
    pipeline: PositiveInt = 1
    schedule: Literal["1f1b", "interleaved"] = "1f1b"  # of the pipeline

    @property
    def ranks(self) -> int:
        """Workers that the layout needs."""
        return prod((self.replicas, self.shards, self.tensor, self.pipeline))

    @property
    def data_ranks(self) -> int:
        """Ranks that a step's samples are divided among."""
        return self.replicas * self.shards

    @property
    def parts(self) -> int:
        """Distinct parts of the model: each is one shard of the exchange between sites."""
        return self.shards * self.tensor * self.pipeline

    def owner(self, part: int) -> int:
        """The rank that speaks for a part of the model: the first replica's. Ranks count stages outermost, tensor innermost."""
        stage, rest = divmod(part, self.shards * self.tensor)
        return stage * self.replicas * self.shards * self.tensor + rest

    def __str__(self) -> str:
        degrees = {"dp": self.replicas, "fsdp": self.shards, "tp": self.tensor, "pp": self.pipeline}
        return " x ".join(f"{name} {degree}" for name, degree in degrees.items() if degree > 1) or "one worker"


class RoundPlan(Frozen):
    """One round: how many inner steps precede its merge, and the outer step's settings."""

    steps: PositiveInt
    lr: PositiveFloat
    momentum: Annotated[float, Field(ge=0, lt=1)]


class SitePlan(Frozen):
    """One site's part: `batch` samples a step, of which each data rank works on `micro_batch` at a time."""

    layout: Layout
    batch: PositiveInt
    micro_batch: PositiveInt
    step_s: PositiveFloat | None = None  # predicted; None: nothing is known of the site's speed
    memory_bytes: PositiveInt | None = None  # predicted peak of one worker

    @model_validator(mode="after")
    def _batch_divides(self) -> "SitePlan":
        unit = self.layout.data_ranks * self.micro_batch
        if self.batch % unit:
            raise ValueError(
                f"a batch of {self.batch} does not divide into micro-batches of {self.micro_batch} on "
                f"{self.layout.data_ranks} data ranks; use a multiple of {unit}"
            )
        return self


class Prediction(Frozen):
    """What the plan expects of the run."""

    step_s: PositiveFloat  # of the slowest site, its share of the merges included
    round_bytes: NonNegativeInt  # payload that one site sends to one other in a round
    link_use: Annotated[float, Field(ge=0)]  # share of the link's rate, in one direction
    total_s: PositiveFloat


class Plan(Frozen):
    """What the trainer obeys."""

    rounds: Annotated[tuple[RoundPlan, ...], Field(min_length=1)]
    overlap_steps: NonNegativeInt  # tau: steps made while a round's frames travel
    bits: Bits
    fragments: PositiveInt
    precision: Precision = "fp32"
    activation_checkpointing: bool = False
    sites: dict[SiteName, SitePlan]
    prediction: Prediction | None = None
    reasons: dict[str, str] = Field(default_factory=dict)  # why each choice was made, by its name

    @property
    def steps(self) -> int:
        """Inner steps of the whole run."""
        return sum(part.steps for part in self.rounds)

    @property
    def shards(self) -> int:
        """Parts of the model that each site exchanges, part i of one site with part i of every other."""
        return next(iter(self.sites.values())).layout.parts

    @model_validator(mode="after")
    def _fits(self) -> "Plan":
        if not self.sites:
            raise ValueError("a plan needs at least one site")
        splits = {
            name: (plan.layout.shards, plan.layout.tensor, plan.layout.pipeline) for name, plan in self.sites.items()
        }
        if len(set(splits.values())) > 1:
            raise ValueError(
                f"sites split the model differently (fsdp, tp, pp): {splits}; they exchange part by part, so give all "
                "the same split, replicas may differ"
            )
        schedules = {plan.layout.schedule for plan in self.sites.values() if plan.layout.pipeline > 1}
        if len(schedules) > 1:
            raise ValueError(
                f"sites run their pipelines by different schedules, {' and '.join(sorted(schedules))}, which give a rank "
                "different layers; give all the same"
            )
        longest = max(part.steps for part in self.rounds)
        if self.overlap_steps >= longest:
            raise ValueError(
                f"overlap_steps {self.overlap_steps} must be less than the longest round's {longest} steps"
            )
        return self
