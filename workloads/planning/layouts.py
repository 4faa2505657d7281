"""Every parallel layout that a site's workers could take, with the time and the memory that it would need."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from workloads.planning.architecture import Architecture
from workloads.planning.batches import share_batch
from workloads.planning.compute import step_time
from workloads.planning.size import Memory, worker_memory
from workloads.planning.speed import Speed
from workloads.spec.errors import UserError
from workloads.spec.facts import SiteFacts
from workloads.spec.plan import Layout, Precision, SitePlan
from workloads.spec.recipe import Recipe

USABLE = 0.9  # of a worker's memory; the rest is fragments, buffers and the unforeseen


@dataclass(frozen=True)
class Split:
    """How every site divides the model; what is left of its workers are replicas."""

    shards: int
    tensor: int
    pipeline: int

    @property
    def parts(self) -> int:
        """Distinct parts."""
        return self.shards * self.tensor * self.pipeline

    def layout(self, workers: int) -> Layout:
        """The layout of a site of `workers`, which `parts` divides."""
        return Layout(replicas=workers // self.parts, shards=self.shards, tensor=self.tensor, pipeline=self.pipeline)


@dataclass(frozen=True)
class Candidate:
    """One way to do it, and what it would take."""

    sites: dict[str, SitePlan]
    checkpointing: bool
    excess: dict[str, tuple[int, int]]  # sites that lack memory: bytes needed and bytes there

    @property
    def step_s(self) -> float | None:
        """Of the slowest site; None where nothing is known."""
        times = [site.step_s for site in self.sites.values() if site.step_s is not None]
        return max(times) if len(times) == len(self.sites) else None


@dataclass(frozen=True)
class Situation:
    """What candidates are judged on."""

    model: Architecture
    recipe: Recipe
    sites: Sequence[SiteFacts]
    speeds: Mapping[str, Speed | None]
    precision: Precision


def candidates(situation: Situation) -> Iterator[Candidate]:
    """From simple to intricate: fewer parts first, then sharding before tensor parallel before a pipeline."""
    wish = situation.recipe.train.inner.activation_checkpointing
    options = [False, True] if wish == "auto" else [wish]
    failure: UserError | None = None
    found = False
    for split in _splits(situation):
        for checkpointing in options:
            try:
                yield _candidate(situation, split, checkpointing=checkpointing)
                found = True
            except UserError as error:  # a batch that this split cannot divide
                failure = failure or error
    if failure is not None and not found:
        raise failure


def _splits(situation: Situation) -> list[Split]:
    given = situation.recipe.train.layout
    if given != "auto":
        require_workers(given, situation.sites)
        return [Split(given.shards, given.tensor, given.pipeline)]
    most = min(site.workers for site in situation.sites)
    model = situation.model
    splits = [
        Split(shards, tensor, pipeline)
        for shards in range(1, most + 1)
        for tensor in range(1, most // shards + 1)
        for pipeline in range(1, most // (shards * tensor) + 1)
        if all(site.workers % (shards * tensor * pipeline) == 0 for site in situation.sites)
        and model.splits % tensor == 0
        and model.stages % pipeline == 0
    ]
    return sorted(splits, key=lambda split: (split.pipeline > 1, split.tensor > 1, split.parts, split.tensor))


def require_workers(layout: Layout, sites: Sequence[SiteFacts]) -> None:
    """Raises `UserError` for a site whose workers are not as many as `layout`, which the recipe gives, needs."""
    for site in sites:
        if site.workers != layout.ranks:
            raise UserError(
                f"site {site.name} has {site.workers} workers and train.layout ({layout}) needs {layout.ranks}; give "
                f"the site {layout.ranks} workers, or leave train.layout to the planner"
            )


def _candidate(situation: Situation, split: Split, *, checkpointing: bool) -> Candidate:
    inner = situation.recipe.train.inner
    layouts = {site.name: split.layout(site.workers) for site in situation.sites}
    least = 1 if inner.micro_batch == "auto" else inner.micro_batch
    units = {name: layout.data_ranks * least for name, layout in layouts.items()}
    speeds = {
        site.name: speed.flops * site.workers if (speed := situation.speeds[site.name]) else None
        for site in situation.sites
    }
    batches = share_batch(inner.batch, speeds, units)
    plans, excess = {}, {}
    for site in situation.sites:
        plan, memory = _site_plan(situation, site, layouts[site.name], batches[site.name], checkpointing=checkpointing)
        plans[site.name] = plan
        if lack := _lack(site, memory):
            excess[site.name] = lack
    return Candidate(plans, checkpointing, excess)


def _site_plan(
    situation: Situation, site: SiteFacts, layout: Layout, batch: int, *, checkpointing: bool
) -> tuple[SitePlan, Memory]:
    """With the micro-batch that is fastest of those that fit, or the least one if none does."""
    inner, share = situation.recipe.train.inner, batch // layout.data_ranks
    sizes = _divisors(share) if inner.micro_batch == "auto" else [inner.micro_batch]
    sizes = [size for size in sizes if share // size >= layout.pipeline]
    if not sizes:
        raise UserError(
            f"site {site.name}: a pipeline of {layout.pipeline} stages needs as many micro-batches, {share} samples of a "
            f"worker make fewer; use a train.inner.batch of at least {layout.pipeline * layout.data_ranks} or less stages"
        )
    choices = []
    for size in sizes:
        memory = worker_memory(
            situation.model,
            inner,
            layout,
            size,
            precision=situation.precision,
            checkpointing=checkpointing,
            in_flight=min(share // size, layout.pipeline),
            on_accelerator=site.accelerator is not None,
        )
        step_s = _step_s(situation, site, layout, batch, size, checkpointing=checkpointing)
        plan = SitePlan(layout=layout, batch=batch, micro_batch=size, step_s=step_s, memory_bytes=memory.device)
        choices.append((plan, memory))
    fitting = [choice for choice in choices if not _lack(site, choice[1])]
    return min(fitting, key=lambda choice: choice[0].step_s or 0.0) if fitting else choices[-1]


def _divisors(number: int) -> list[int]:
    """The greatest first."""
    low = [divisor for divisor in range(1, isqrt(number) + 1) if number % divisor == 0]
    return sorted({*low, *(number // divisor for divisor in low)}, reverse=True)


def _step_s(
    situation: Situation, site: SiteFacts, layout: Layout, batch: int, micro_batch: int, *, checkpointing: bool
) -> float | None:
    speed = situation.speeds[site.name]
    if speed is None:
        return None
    return step_time(
        situation.model,
        situation.recipe,
        layout,
        batch,
        micro_batch,
        speed,
        precision=situation.precision,
        checkpointing=checkpointing,
    ).total


def _lack(site: SiteFacts, memory: Memory) -> tuple[int, int] | None:
    """What is needed and what is there, if the one does not fit the other."""
    there = [(memory.host, site.memory_bytes)]
    if site.accelerator is not None:
        there.insert(0, (memory.device, site.accelerator.memory_bytes))
    return next(((needed, has) for needed, has in there if needed > USABLE * has), None)
