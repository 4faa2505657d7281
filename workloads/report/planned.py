"""What the plan expected of a run, beside what the run turned out to be."""

from dataclasses import dataclass
from statistics import fmean

from workloads.report.reading import Figures
from workloads.spec.plan import Plan, SitePlan


@dataclass(frozen=True)
class Expectation:
    """A figure as it was predicted, None where nothing was, and as it was measured."""

    predicted: float | None
    measured: float

    @property
    def off(self) -> float | None:
        """How far the prediction lay above the measurement, as a share of it; below: negative."""
        if self.predicted is None or not self.measured:
            return None
        return self.predicted / self.measured - 1


@dataclass(frozen=True)
class SiteOutcome:
    """One site's part of the plan, and how long its steps took and how much memory one of its workers used."""

    site: str
    plan: SitePlan
    step_s: Expectation  # of a step alone, without merges
    memory_bytes: Expectation


@dataclass(frozen=True)
class PlanOutcome:
    """The whole run against its plan."""

    sites: tuple[SiteOutcome, ...]  # in the order of the launch's sites
    step_s: Expectation  # merges and waiting included
    round_bytes: Expectation  # payload of one site to one other in a round, on average over sites and rounds
    link_use: Expectation  # the busiest site's payload, as a share of the link's rate
    total_s: Expectation


def plan_outcome(figures: Figures) -> PlanOutcome:
    """The outcome of the run's plan."""
    run, plan = figures.run, figures.launch.plan
    expected = plan.prediction
    pairs = len(figures.traces) * max(1, len(figures.traces) - 1)
    return PlanOutcome(
        sites=tuple(
            SiteOutcome(
                site=trace.site,
                plan=plan.sites[trace.site],
                step_s=Expectation(plan.sites[trace.site].step_s, fmean(step.seconds for step in trace.steps)),
                memory_bytes=Expectation(plan.sites[trace.site].memory_bytes, run.peak_memory_bytes[trace.site]),
            )
            for trace in figures.traces
        ),
        step_s=Expectation(expected.step_s if expected else None, run.wall_s / run.steps),
        round_bytes=Expectation(expected.round_bytes if expected else None, figures.bytes_sent / (pairs * run.rounds)),
        link_use=Expectation(
            expected.link_use if expected else None, max(figures.payload_share(site.site) for site in figures.traffic)
        ),
        total_s=Expectation(expected.total_s if expected else None, run.wall_s),
    )


def round_lengths(plan: Plan) -> str:
    """`20`, or `10 to 40` where rounds are of different lengths: steps before a merge."""
    shortest, longest = min(part.steps for part in plan.rounds), max(part.steps for part in plan.rounds)
    return f"{longest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"


def outer_settings(plan: Plan) -> str:
    """Learning rate and momentum of the merges, the first and the last where they change."""
    first, last = plan.rounds[0], plan.rounds[-1]
    rate = f"{first.lr:g}" if first.lr == last.lr else f"{first.lr:g} to {last.lr:g}"
    momentum = f"{first.momentum:g}" if first.momentum == last.momentum else f"{first.momentum:g} to {last.momentum:g}"
    return f"outer learning rate {rate}, momentum {momentum}"
