"""What a worker is told, as values: the task, the method, and where everyone is."""

from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from workloads.spec.base import Credentials, Endpoint, Frozen
from workloads.spec.plan import Bits

SITES = ("east", "west")


class Task(Frozen):
    """What every method is given alike: model, data, optimizer and schedule. `steps` is the length of the schedule."""

    model: dict[str, JsonValue]  # of `transformers.AutoConfig.for_model`
    batch: int  # windows a step and site
    context: int  # bytes a window
    optimizer: Literal["adamw", "muon"]
    lr: float
    muon_momentum: float = 0.9  # the recipes' default
    warmup_steps: int
    schedule: Literal["constant", "cosine"]
    steps: int
    validation_windows: int = 64
    seed: int = 0


class Method(Frozen):
    """One way to train at two sites. Kinds in lock-step share gradients in every step, the others merge every `period`."""

    name: str
    kind: Literal["ddp", "fp16", "powersgd", "post-local", "torchft", "torchft-bucket", "isthmus"]
    period: int = 1  # H: inner steps between two merges
    overlap_steps: int = 0  # tau
    bits: Bits = 32
    fragments: int = 1
    outer_lr: float | None = None  # of `isthmus`, as is the momentum; None: what its planner takes for so many rounds
    outer_momentum: float | None = None

    @property
    def is_lock_step(self) -> bool:
        """Whether no site can be more than one step ahead of the other."""
        return self.period == 1

    @property
    def setting(self) -> str:
        """In a few words, what tells two measurements of a method apart."""
        if self.is_lock_step:
            return "every step"
        if self.kind != "isthmus":
            return f"H={self.period}"
        words = f"H={self.period} int{self.bits} tau={self.overlap_steps} F={self.fragments}"
        given = (("lr", self.outer_lr), ("momentum", self.outer_momentum))
        return " ".join([words, *(f"{name}={value:g}" for name, value in given if value is not None)])


class Job(Frozen):
    """One training by one method. Both sites are given the same; everything of it lies in `folder`.

    It ends after `steps`, or, in lock-step, after the first step that ends `limit_s` seconds or more after the start.
    """

    folder: Path
    task: Task
    method: Method
    steps: int
    limit_s: float | None
    snapshot_every: int | None  # steps, at least, between two looks at the validation loss; None: no look
    hosts: tuple[str, str]
    ports: tuple[int, int, int, int]  # the first site's store and lighthouse, and a server of each site
    device: str  # network interface
    counters: Path | None  # of the link; None: there is none
    credentials: tuple[Credentials, Credentials] | None

    def endpoint(self, site: int) -> Endpoint:
        """Where a site's own server listens."""
        return Endpoint(host=self.hosts[site], port=self.ports[2 + site])


class Mark(Frozen):
    """A merge: steps made and seconds passed until then, and bytes that the link had carried."""

    step: int
    at_s: float
    link_bytes: int


class Look(Frozen):
    """The shared model's validation loss in nats a byte, and when it was that good."""

    step: int
    at_s: float
    loss: float


class Outcome(Frozen):
    """What one site saw. Marks begin where the method runs as it will go on; looks are those that fell to this site."""

    marks: tuple[Mark, ...]
    looks: tuple[Look, ...]
    parameters: int
    steps: int
    seconds: float
    peak_bytes: int  # resident, of the training alone
    start_bytes: int  # resident with the model, before gradients, optimizer state and the method's own
