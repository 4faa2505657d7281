"""Which of all layouts is taken: the simplest that fits the workers' memory and is not much slower than another."""

from collections.abc import Iterator, Mapping, Sequence

from workloads.planning.layouts import USABLE, Candidate, Situation, candidates
from workloads.spec.errors import UserError
from workloads.spec.facts import SiteFacts
from workloads.spec.plan import Precision

_WORTH_IT = 0.9  # a more intricate layout must take at most this share of a simpler one's time
_MORE_WORKERS = 64


def choose_layout(situation: Situation) -> Candidate:
    """The best candidate that fits.

    Raises:
        UserError: none fits, with what would make one fit; or what the recipe fixes does not fit the sites.
    """
    known = list(candidates(situation))
    fitting = [candidate for candidate in known if not candidate.excess]
    if not fitting:
        raise UserError(_refusal(situation, known))
    best = fitting[0]
    for candidate in fitting[1:]:
        if candidate.step_s is not None and best.step_s is not None and candidate.step_s < _WORTH_IT * best.step_s:
            best = candidate
    return best


def _refusal(situation: Situation, known: Sequence[Candidate]) -> str:
    """`site a: needs 31.0 GiB a worker, has 24.0 GiB; add 2 workers, …`: of the candidate that is nearest to fitting."""
    nearest = min(known, key=lambda candidate: max(need / has for need, has in candidate.excess.values()))
    site, (needed, has) = max(nearest.excess.items(), key=lambda item: item[1][0] / item[1][1])
    ways = list(_remedies(situation)) or ["use a smaller model, or workers with more memory"]
    return (
        f"site {site}: recipe {situation.recipe.name} needs {_gibibytes(needed / USABLE)} a worker, has "
        f"{_gibibytes(has)}; {', or '.join(ways)}"
    )


def _remedies(situation: Situation) -> Iterator[str]:
    workers = min(site.workers for site in situation.sites)
    if situation.recipe.train.layout == "auto":
        for more in range(1, _MORE_WORKERS + 1):
            grown = [site.model_copy(update={"workers": site.workers + more}) for site in situation.sites]
            if _fits(_changed(situation, sites=grown)):
                yield f"give each site {more} more worker{'s' if more > 1 else ''} ({workers + more} in place of {workers})"
                break
    inner = situation.recipe.train.inner
    on_accelerators = all(site.accelerator for site in situation.sites)
    if situation.precision == "fp32" and on_accelerators and _fits(_changed(situation, precision="bf16")):
        yield "set train.inner.precision: bf16"
    if inner.activation_checkpointing is False and _fits(_changed(situation, inner={"activation_checkpointing": True})):
        yield "set train.inner.activation_checkpointing: true"
    if inner.micro_batch not in {"auto", 1} and _fits(_changed(situation, inner={"micro_batch": "auto"})):
        yield "leave train.inner.micro_batch to the planner"


def _fits(situation: Situation) -> bool:
    try:
        return any(not candidate.excess for candidate in candidates(situation))
    except UserError:
        return False


def _changed(
    situation: Situation,
    *,
    sites: Sequence[SiteFacts] | None = None,
    precision: Precision | None = None,
    inner: Mapping[str, object] | None = None,
) -> Situation:
    train = situation.recipe.train
    changed = train.model_copy(update={"inner": train.inner.model_copy(update=dict(inner or {}))})
    return Situation(
        situation.model,
        situation.recipe.model_copy(update={"train": changed}),
        sites or situation.sites,
        situation.speeds,
        precision or situation.precision,
    )


def _gibibytes(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"
