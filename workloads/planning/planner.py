"""The planner: every choice that a recipe leaves open, made from facts, with its reason."""

from collections.abc import Mapping, Sequence

from workloads.planning.batches import share_batch
from workloads.planning.choosing import choose_layout
from workloads.planning.layouts import Candidate, Situation, require_workers
from workloads.planning.merging import GIVEN, Exchange, Merging, choose_merging
from workloads.planning.outer import plan_rounds
from workloads.planning.recognise import architecture
from workloads.planning.speed import Speed, card, worker_speed
from workloads.spec.errors import UserError
from workloads.spec.facts import SiteFacts
from workloads.spec.launch import LinkFacts
from workloads.spec.plan import Layout, Plan, Precision, Prediction, SitePlan
from workloads.spec.recipe import Recipe

_UNKNOWN_STEP_S = 0.5  # where no site's speed is known: long enough to plan cautiously, short enough to use the link


def plan_run(recipe: Recipe, sites: Sequence[SiteFacts], link: LinkFacts) -> Plan:
    """The plan of `recipe` over `sites`. What the recipe gives is kept; the same facts give the same plan.

    Raises:
        UserError: no layout fits the workers' memory, a batch does not divide, or nothing is known of the model's size
            and the recipe leaves something open that depends on it.
    """
    if _is_by_hand(recipe):
        return _plan_by_hand(recipe, sites)
    model = architecture(recipe)
    precision = _precision(recipe, sites)
    speeds = {site.name: worker_speed(site, precision) for site in sites}
    chosen = choose_layout(Situation(model, recipe, sites, speeds, precision))
    parts = next(iter(chosen.sites.values())).layout.parts
    exchange = Exchange(
        parameters=model.whole.parameters,
        parts=parts,
        sites=len(sites),
        step_s=chosen.step_s or _UNKNOWN_STEP_S,
        link=link,
        on_accelerators=all(site.accelerator is not None for site in sites),
        copy_bytes_s=min((speed.host_copy_bytes_s for speed in speeds.values() if speed), default=10e9),
    )
    merging = choose_merging(recipe, exchange)
    rounds = plan_rounds(recipe, merging.steps)
    return Plan(
        rounds=rounds,
        overlap_steps=merging.overlap_steps,
        bits=merging.bits,
        fragments=merging.fragments,
        precision=precision,
        activation_checkpointing=chosen.checkpointing,
        sites=chosen.sites,
        prediction=_prediction(recipe, exchange, merging, len(rounds)) if chosen.step_s else None,
        reasons={
            **_layout_reasons(recipe, sites, chosen, speeds),
            **merging.reasons,
            "outer": _outer_reason(recipe, len(rounds)),
        },
    )


def _is_by_hand(recipe: Recipe) -> bool:
    """Whether the recipe leaves nothing open that depends on the model's size, which then need not be known."""
    inner, outer = recipe.train.inner, recipe.train.outer
    choices = (recipe.train.layout, inner.micro_batch, inner.steps, outer.overlap_steps, outer.bits, outer.fragments)
    try:
        architecture(recipe)
    except UserError:
        return all(choice != "auto" for choice in choices)
    return False


def _plan_by_hand(recipe: Recipe, sites: Sequence[SiteFacts]) -> Plan:
    inner, outer, layout = recipe.train.inner, recipe.train.outer, recipe.train.layout
    if (
        not isinstance(layout, Layout)
        or inner.micro_batch == "auto"
        or inner.steps == "auto"
        or outer.overlap_steps == "auto"
        or outer.bits == "auto"
        or outer.fragments == "auto"
    ):
        raise TypeError("the recipe leaves something open")
    require_workers(layout, sites)
    share_batch(
        inner.batch,
        {site.name: None for site in sites},
        {site.name: layout.data_ranks * inner.micro_batch for site in sites},
    )
    site = SitePlan(layout=layout, batch=inner.batch, micro_batch=inner.micro_batch)
    return Plan(
        rounds=plan_rounds(recipe, inner.steps),
        overlap_steps=outer.overlap_steps,
        bits=outer.bits,
        fragments=outer.fragments,
        precision=_precision(recipe, sites),
        activation_checkpointing=inner.activation_checkpointing is True,
        sites={fact.name: site for fact in sites},
        reasons={"layout": f"{GIVEN}: nothing is known of the model's size, so nothing is predicted"},
    )


def _precision(recipe: Recipe, sites: Sequence[SiteFacts]) -> Precision:
    given = recipe.train.inner.precision
    if given != "auto":
        return given
    fits = all(site.accelerator is not None and card(site).bf16 is not None for site in sites)
    return "bf16" if fits else "fp32"


def _prediction(recipe: Recipe, exchange: Exchange, merging: Merging, rounds: int) -> Prediction:
    """A site trains, merges, and waits for what was not hidden; a link that is never idle sets the pace itself."""
    training_s = merging.steps * exchange.step_s
    hidden_s = merging.overlap_steps * exchange.step_s
    held_up_s = exchange.held_up_s / merging.fragments
    arrival_s = exchange.arrival_s(merging.bits, merging.fragments)
    waiting_s = merging.fragments * max(0.0, arrival_s - held_up_s - hidden_s)
    busy_s = exchange.on_link_s(merging.bits)
    round_s = max(training_s + exchange.held_up_s + waiting_s, busy_s)
    steps = recipe.train.steps
    return Prediction(
        step_s=_significant(round_s / merging.steps),
        round_bytes=exchange.payload(merging.bits),
        link_use=_significant(busy_s / round_s),
        total_s=_significant(steps * exchange.step_s + rounds * (round_s - training_s)),
    )


def _layout_reasons(
    recipe: Recipe, sites: Sequence[SiteFacts], chosen: Candidate, speeds: Mapping[str, Speed | None]
) -> dict[str, str]:
    inner = recipe.train.inner
    first = next(iter(chosen.sites.values()))
    batches = {plan.batch for plan in chosen.sites.values()}
    reasons = {
        "layout": GIVEN if recipe.train.layout != "auto" else _why_layout(first.layout, sites),
        "micro_batch": GIVEN if inner.micro_batch != "auto" else "the fastest that fits the workers' memory",
        "batch": f"{inner.batch} a site, as the recipe says"
        if len(batches) == 1
        else f"{inner.batch * len(sites)} over all sites, shared by speed, so that none waits for another",
        "activation_checkpointing": GIVEN
        if inner.activation_checkpointing != "auto"
        else ("activations would not fit otherwise" if chosen.checkpointing else "activations fit as they are"),
        "precision": GIVEN if inner.precision != "auto" else "bf16 where every accelerator has it, else fp32",
    }
    if not all(speeds.values()):
        unknown = ", ".join(name for name, speed in speeds.items() if speed is None)
        reasons["prediction"] = f"nothing is known of the speed of {unknown}"
    return reasons


def _why_layout(layout: Layout, sites: Sequence[SiteFacts]) -> str:
    if all(site.workers == 1 for site in sites):
        return "each site has one worker, and the model fits"
    if layout.parts == 1:
        return "the whole model fits each worker, and replicas talk least"
    return "the simplest split that fits the workers' memory and divides the batch, or one that is a tenth faster"


def _outer_reason(recipe: Recipe, rounds: int) -> str:
    outer = recipe.train.outer
    if outer.lr != "auto" and outer.momentum != "auto":
        return GIVEN
    return f"what fits {rounds} rounds"


def _significant(value: float) -> float:
    return float(f"{value:.3g}")
