"""A recipe: what to train, on what data, how, and what the result must reach. One YAML file each in `workloads/recipes/`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, JsonValue, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator

from workloads.spec.advice import advise
from workloads.spec.base import Fraction, Frozen, Name, SiteName
from workloads.spec.data import Data
from workloads.spec.errors import UserError
from workloads.spec.plan import Bits, Layout, Precision

RECIPES = Path(__file__).parent.parent / "recipes"

Auto = Literal["auto"]  # the planner chooses
Metric = Literal["accuracy", "auc", "bits_per_byte"]


class MlpModel(Frozen):
    """A two-layer network: `inputs` -> `hidden` (ReLU) -> `classes` logits.

    With `scale: log` a feature x is first made `sign(x) log(1 + |x|)`: columns of very different sizes become alike
    without a statistic that sites would have to share.
    """

    kind: Literal["mlp"]
    inputs: PositiveInt
    hidden: PositiveInt
    classes: PositiveInt
    scale: Literal["raw", "log"] = "raw"


class TransformersModel(Frozen):
    """A model of `transformers`: `AutoConfig.for_model(**config)` with random weights, or those that `weights` names.

    `weights` is a folder or an `fsspec` address with `config.json` and safetensors; `config` then overrides its keys.
    """

    kind: Literal["transformers"]
    auto: Literal["causal-lm", "sequence-classification", "image-classification", "audio-classification"]
    config: dict[str, JsonValue] = Field(default_factory=dict)
    weights: str | None = None


class InnerSpec(Frozen):
    """What a site does alone between two merges. `auto` leaves a choice to the planner."""

    # Muon for the hidden matrices and AdamW for the rest, as in MuLoCo (arXiv 2505.23725)
    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    # Less than torch's 0.95. At the task of `make bench BENCH=wan` a synchronous run ends 0.3 % lower in loss with it, and
    # merged rounds, where the outer step has a momentum of its own, 0.8 % lower.
    muon_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    lr: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: NonNegativeInt = 0
    batch: PositiveInt  # samples a step of one site; the planner may share sites x batch out by speed
    micro_batch: PositiveInt | Auto = "auto"  # samples that one worker works on at a time
    steps: PositiveInt | Auto  # H: steps between two merges
    clip_norm: PositiveFloat | None = None
    precision: Precision | Auto = "fp32"
    activation_checkpointing: bool | Auto = "auto"


class OuterSpec(Frozen):
    """The merge between sites: Nesterov SGD on pseudo-gradients (DiLoCo, arXiv 2311.08105)."""

    lr: PositiveFloat | Auto = "auto"
    momentum: Annotated[float, Field(ge=0, lt=1)] | Auto = "auto"
    bits: Bits | Auto = "auto"  # 32: values as they are; less: blockwise absmax with error feedback
    overlap_steps: NonNegativeInt | Auto = "auto"  # tau: steps made while a round's frames travel
    fragments: PositiveInt | Auto = "auto"  # parts of the model that travel at times of their own


class MembershipSpec(Frozen):
    """What becomes of a site that is not heard from. Until it is decided, everyone keeps training and nothing is lost.

    With `remove` more than half of the sites agree to go on without it after `patience_s`; of two sites none is more
    than half, so there `survivor` names the one that may go on alone. `wait` leaves the decision to the operator.
    """

    on_loss: Literal["wait", "remove"] = "wait"
    patience_s: PositiveFloat = 600.0
    survivor: SiteName | None = None


class CheckpointSpec(Frozen):
    """How often a site's state is made durable, and how many states are kept."""

    every_rounds: PositiveInt = 1
    keep: Annotated[int, Field(ge=2)] = 2


class TrainSpec(Frozen):
    """The training.

    It is `epochs` times `rounds_per_epoch` rounds of `inner.steps` steps, or `epochs` times `steps_per_epoch` steps,
    which the planner divides into rounds.
    """

    seed: int = 0
    epochs: PositiveInt  # passes over the schedule
    rounds_per_epoch: PositiveInt | None = None
    steps_per_epoch: PositiveInt | None = None
    class_weights: Literal["equal", "balanced"] = "equal"  # balanced: a class counts by the inverse of its frequency
    inner: InnerSpec
    outer: OuterSpec = OuterSpec()
    layout: Layout | Auto = "auto"  # of every site
    membership: MembershipSpec = MembershipSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()

    @model_validator(mode="after")
    def _length_is_given(self) -> "TrainSpec":
        if (self.rounds_per_epoch is None) == (self.steps_per_epoch is None):
            raise ValueError("give exactly one of rounds_per_epoch and steps_per_epoch")
        if self.steps_per_epoch is None and self.inner.steps == "auto":
            raise ValueError(
                "inner.steps is auto, so the length is not known; give steps_per_epoch in place of rounds_per_epoch"
            )
        return self

    @property
    def steps(self) -> int:
        """Inner steps of the whole run, at each site."""
        if self.steps_per_epoch is not None:
            return self.epochs * self.steps_per_epoch
        if self.rounds_per_epoch is None or self.inner.steps == "auto":
            raise AssertionError("the validator lets no such recipe through")
        return self.epochs * self.rounds_per_epoch * self.inner.steps


class Gate(Frozen):
    """What a compressed model must still reach. `accuracy` and `auc` are better when higher, `bits_per_byte` when lower."""

    metric: Metric
    bound: float  # accuracy or auc at least, bits a byte at most
    max_relative_loss: Fraction  # against the uncompressed model, on the same held-out samples

    @property
    def higher_is_better(self) -> bool:
        """Whether more of the metric is better."""
        return self.metric != "bits_per_byte"

    def passes(self, before: float, after: float) -> bool:
        """Whether `after` is good enough, given `before` (the uncompressed model's)."""
        if self.higher_is_better:
            return after >= self.bound and after >= before * (1 - self.max_relative_loss)
        return after <= self.bound and after <= before * (1 + self.max_relative_loss)


class CompressSpec(Frozen):
    """Structured pruning, then int8 weights. Ratios are tried from the strongest; the first that passes the gate wins."""

    prune_ratios: tuple[Fraction, ...] = (0.0,)
    gate: Gate


class ServeSpec(Frozen):
    """How the model answers. `max_request_bytes` and `max_batch` bound one request."""

    protocols: tuple[Literal["open-inference-v2", "openai-completions"], ...] = ("open-inference-v2",)
    max_batch: PositiveInt = 64
    max_request_bytes: PositiveInt = 1 << 20


_FITS: dict[str, tuple[str, tuple[Metric, ...]]] = {
    "mlp": ("table", ("accuracy", "auc")),
    "causal-lm": ("text", ("bits_per_byte",)),
    "sequence-classification": ("labelled-text", ("accuracy",)),
    "image-classification": ("images", ("accuracy",)),
    "audio-classification": ("audio", ("accuracy",)),
}


class Recipe(Frozen):
    """One model from data to service."""

    name: Name
    description: str
    model: Annotated[MlpModel | TransformersModel, Field(discriminator="kind")]
    data: Data
    train: TrainSpec
    compress: CompressSpec
    serve: ServeSpec = ServeSpec()

    @model_validator(mode="after")
    def _model_fits_data(self) -> "Recipe":
        kind = self.model.auto if isinstance(self.model, TransformersModel) else self.model.kind
        data, metrics = _FITS[kind]
        if self.data.kind != data:
            raise ValueError(f"a model of kind {kind} reads data of kind {data}, not {self.data.kind}")
        if self.compress.gate.metric not in metrics:
            raise ValueError(
                f"compress.gate.metric {self.compress.gate.metric} does not fit a {kind}; choose of {metrics}"
            )
        if self.compress.gate.metric == "auc" and isinstance(self.model, MlpModel) and self.model.classes != 2:
            raise ValueError(f"auc needs two classes, not {self.model.classes}; set compress.gate.metric: accuracy")
        return self


def recipe_names() -> list[str]:
    """Names of the recipes that come with the product."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name: str, overrides: dict[str, JsonValue] | None = None) -> Recipe:
    """The recipe `name`, bundled or a path to a YAML file, with `overrides` such as `train.epochs`, dotted or nested.

    Raises:
        UserError: the name is unknown, or a key or value does not fit the schema.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"recipe {name!r} is unknown; choose one of {', '.join(recipe_names())}, or give a .yaml file")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from None
    for dotted, value in _leaves(overrides or {}):
        _set(document, dotted, value)
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise UserError(advise(error, f"recipe {name}", Recipe)) from None


def _leaves(overrides: dict[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for key, value in overrides.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _set(document: JsonValue, dotted: str, value: JsonValue) -> None:
    *parents, last = dotted.split(".")
    for key in parents:
        if not isinstance(document, dict):
            raise UserError(f"training override {dotted!r}: {key!r} is below {document!r:.40}, which has no parts")
        document = document.setdefault(
            key, {}
        )  # a section that the file leaves to its defaults; the schema has the last word
    if not isinstance(document, dict):
        raise UserError(f"training override {dotted!r}: {'.'.join(parents)!r} is not a mapping")
    document[last] = value
