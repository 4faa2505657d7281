"""A recipe: what to train, on what data, how, and what the result must reach. One YAML file each in `workloads/recipes/`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, JsonValue, PositiveFloat, PositiveInt, ValidationError, model_validator

from workloads.spec.base import Fraction, Frozen, Name
from workloads.spec.errors import UserError, explain

RECIPES = Path(__file__).parent.parent / "recipes"


class MlpModel(Frozen):
    """A two-layer network: `inputs` -> `hidden` (ReLU) -> `classes` logits."""

    kind: Literal["mlp"]
    inputs: PositiveInt
    hidden: PositiveInt
    classes: PositiveInt


class TransformersModel(Frozen):
    """A model of `transformers`, built by `AutoConfig.for_model(**config)` with random weights."""

    kind: Literal["transformers"]
    auto: Literal["causal-lm"]
    config: dict[str, JsonValue]


class TableData(Frozen):
    """A labelled table. `held_out` of it, stratified, is never trained on; the rest is dealt in `subsets` stratified parts."""

    kind: Literal["table"]
    source: Literal["iris"]
    subsets: PositiveInt
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)]
    seed: int = 0


class TextData(Frozen):
    """Text as byte-level tokens in windows of `context`. Whole packages go to one site or to its held-out part."""

    kind: Literal["text"]
    source: Literal["python-stdlib"]
    context: PositiveInt
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)]
    max_bytes_per_site: PositiveInt
    seed: int = 0


class InnerSpec(Frozen):
    """What a site does alone between two merges."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    batch: PositiveInt  # samples a step, over all workers of the site
    steps: PositiveInt  # H: steps between two merges
    clip_norm: PositiveFloat | None = None


class OuterSpec(Frozen):
    """The merge between sites: Nesterov SGD on pseudo-gradients (DiLoCo, arXiv 2311.08105)."""

    lr: PositiveFloat = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bits: Literal[8, 32] = 8  # 8: blockwise absmax int8 with error feedback; 32: as is


class CheckpointSpec(Frozen):
    """How often a site's state is made durable, and how many states are kept."""

    every_rounds: PositiveInt = 1
    keep: Annotated[int, Field(ge=2)] = 2


class TrainSpec(Frozen):
    """The training: `rounds` merges of `inner.steps` steps each."""

    seed: int = 0
    epochs: PositiveInt  # passes over the schedule of `rounds_per_epoch` rounds
    rounds_per_epoch: PositiveInt
    inner: InnerSpec
    outer: OuterSpec = OuterSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()

    @property
    def rounds(self) -> int:
        """Merges in the whole run."""
        return self.epochs * self.rounds_per_epoch


class Gate(Frozen):
    """What a compressed model must still reach. `metric` is `accuracy` (higher is better) or `bits_per_byte` (lower)."""

    metric: Literal["accuracy", "bits_per_byte"]
    bound: float  # accuracy at least, bits a byte at most
    max_relative_loss: Fraction  # against the uncompressed model, on the same held-out samples

    def passes(self, before: float, after: float) -> bool:
        """Whether `after` is good enough, given `before` (the uncompressed model's)."""
        if self.metric == "accuracy":
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


class Recipe(Frozen):
    """One model from data to service."""

    name: Name
    description: str
    model: Annotated[MlpModel | TransformersModel, Field(discriminator="kind")]
    data: Annotated[TableData | TextData, Field(discriminator="kind")]
    train: TrainSpec
    compress: CompressSpec
    serve: ServeSpec = ServeSpec()

    @model_validator(mode="after")
    def _model_fits_data(self) -> "Recipe":
        pairs = {("mlp", "table"): "accuracy", ("transformers", "text"): "bits_per_byte"}
        metric = pairs.get((self.model.kind, self.data.kind))
        if metric is None:
            raise ValueError(
                f"model kind {self.model.kind} cannot read data kind {self.data.kind}; pairs: {list(pairs)}"
            )
        if self.compress.gate.metric != metric:
            raise ValueError(f"compress.gate.metric {self.compress.gate.metric} does not fit; this recipe has {metric}")
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
        raise UserError(explain(error, f"recipe {name}")) from None


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
