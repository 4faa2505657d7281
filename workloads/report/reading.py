"""What a run left behind, read whole and checked to belong together."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, median

from pydantic import ValidationError

from workloads.spec.artifact import (
    MANIFEST,
    RESULT,
    SIGNATURE,
    ArtifactManifest,
    CompressResult,
    RegisterResult,
    RunResult,
)
from workloads.spec.base import file_digest
from workloads.spec.errors import UserError, explain
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent, read_events
from workloads.spec.launch import LaunchSpec, LinkFacts, ReportLaunch, SiteLaunch
from workloads.trainer.watching.rates import tokens_a_sample

_EVENTS = "events.jsonl"
_TRAINED = "trained"
_MODEL = "model"
_BITS_PER_BYTE = 8


@dataclass(frozen=True)
class SiteTrace:
    """What one site told while it trained, in order."""

    site: str
    steps: tuple[StepEvent, ...]  # at least one
    rounds: tuple[RoundEvent, ...]  # at least one
    notes: tuple[NoteEvent, ...]


@dataclass(frozen=True)
class SiteTraffic:
    """One site's use of the link. Bytes are those that it sent; shares are of the link's measured rate."""

    site: str
    payload_bytes: int
    wire_bytes: int
    wait_s: float
    wait_share: float  # of the training time
    link_share: float  # of the rate, over the training time, framing included
    peak_memory_bytes: int


@dataclass(frozen=True)
class SitePace:
    """How fast one site trained. Samples a second are of its steps alone, and over all of the training time."""

    site: str
    step_samples_per_s: float  # median over the steps
    samples_per_s: float  # merges and waiting included
    tokens_per_s: float | None  # likewise; None where the data is not text
    mfu: float | None  # mean over the steps that tell it; None: the site's speed is not known
    refused_frames: int


@dataclass(frozen=True)
class Figures:
    """Everything that the page says, and the figures that follow from it."""

    launch: LaunchSpec
    run: RunResult
    trained: ArtifactManifest
    compression: CompressResult
    compressed: ArtifactManifest
    registration: RegisterResult
    signature_digest: str
    traces: tuple[SiteTrace, ...]  # in the order of the launch's sites

    @property
    def bytes_sent(self) -> int:
        """Payload that all sites put on the link."""
        return sum(self.run.bytes_sent.values())

    @property
    def wire_bytes_sent(self) -> int:
        """The same with framing, before TLS."""
        return sum(self.run.wire_bytes_sent.values())

    @property
    def bytes_ddp(self) -> int:
        """What all sites would have put on the link with plain data parallelism."""
        return self.run.bytes_ddp * len(self.traces)

    @property
    def ddp_ratio(self) -> float:
        """How many times fewer payload bytes than plain data parallelism. Infinite where nothing was sent."""
        return self.bytes_ddp / self.bytes_sent if self.bytes_sent else float("inf")

    @property
    def ddp_link_share(self) -> float:
        """Share of the link's rate that plain data parallelism would have needed to train as fast as this run."""
        return _share_of_rate(self.run.bytes_ddp, self.run.wall_s, self.launch.link)

    @property
    def ddp_least_s(self) -> float:
        """A bound from below on training with plain data parallelism over this link.

        A step cannot end before its last gradient byte has crossed: the bytes at the measured rate, and half a round
        trip.
        """
        link = self.launch.link
        transfer_s = self.run.bytes_ddp * _BITS_PER_BYTE / (link.rate_mbps * 1e6)
        return transfer_s + self.run.steps * link.rtt_ms / 2e3

    @cached_property
    def traffic(self) -> tuple[SiteTraffic, ...]:
        """Use of the link by site, in the order of `traces`."""
        run = self.run
        return tuple(
            SiteTraffic(
                site=trace.site,
                payload_bytes=run.bytes_sent[trace.site],
                wire_bytes=run.wire_bytes_sent[trace.site],
                wait_s=run.wait_s[trace.site],
                wait_share=run.wait_s[trace.site] / run.wall_s,
                link_share=_share_of_rate(run.wire_bytes_sent[trace.site], run.wall_s, self.launch.link),
                peak_memory_bytes=run.peak_memory_bytes[trace.site],
            )
            for trace in self.traces
        )

    @cached_property
    def pace(self) -> tuple[SitePace, ...]:
        """Speed by site, in the order of `traces`."""
        tokens = tokens_a_sample(self.launch.recipe)
        return tuple(_pace(trace, self.run.wall_s, tokens) for trace in self.traces)

    @property
    def stages(self) -> dict[str, float]:
        """Seconds by stage, in the order in which they ran."""
        return {
            "training": self.run.wall_s,
            "compression": self.compression.wall_s,
            "registration": self.registration.wall_s,
        }

    @property
    def notes(self) -> list[NoteEvent]:
        """What the sites noted, by time."""
        return sorted((note for trace in self.traces for note in trace.notes), key=lambda note: note.t)

    @property
    def started(self) -> float:
        """When the first site was done with its first step, in seconds since the epoch."""
        return min(trace.steps[0].t for trace in self.traces)

    def payload_share(self, site: str) -> float:
        """Share of the link's measured rate that a site's payload took up over the training time."""
        return _share_of_rate(self.run.bytes_sent[site], self.run.wall_s, self.launch.link)

    def link_use(self, event: RoundEvent) -> float:
        """Share of the link's measured rate that a site's payload took up in one round."""
        return _share_of_rate(event.bytes_sent, event.seconds, self.launch.link)


def read_figures(spec: ReportLaunch) -> Figures:
    """Read the inputs that `spec` names.

    Raises:
        UserError: one of them is missing, malformed or of another run than the rest.
    """
    launch, model = spec.launch, spec.compressed / _MODEL
    figures = Figures(
        launch=launch,
        run=RunResult.load(launch.output / RESULT),
        trained=ArtifactManifest.load(launch.output / _TRAINED / MANIFEST),
        compression=CompressResult.load(spec.compressed / RESULT),
        compressed=ArtifactManifest.load(model / MANIFEST),
        registration=RegisterResult.load(spec.registered),
        signature_digest=_signature_digest(model / SIGNATURE),
        traces=tuple(_read_trace(site) for site in launch.sites),
    )
    for fault in _faults(figures):
        raise UserError(f"{fault}; the report needs the files of one run, run `make up` to make them again")
    return figures


def _read_trace(site: SiteLaunch) -> SiteTrace:
    path = site.work / _EVENTS
    try:
        events = list(read_events(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it is written as site {site.name} trains") from None
    except ValidationError as error:
        raise UserError(explain(error, str(path))) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; remove the line that was damaged") from None
    steps = tuple(event for event in events if isinstance(event, StepEvent))
    rounds = tuple(event for event in events if isinstance(event, RoundEvent))
    if not steps or not rounds:
        raise UserError(
            f"{path}: {len(steps)} steps and {len(rounds)} rounds; the report needs a run that has finished"
        )
    return SiteTrace(site.name, steps, rounds, tuple(event for event in events if isinstance(event, NoteEvent)))


def _pace(trace: SiteTrace, wall_s: float, tokens: int | None) -> SitePace:
    """Of steps that a site made alone only some are told, so samples are counted by the last step's number."""
    last = trace.steps[-1]
    overall = last.step * last.samples / wall_s
    told = [step.mfu for step in trace.steps if step.mfu is not None]
    return SitePace(
        site=trace.site,
        step_samples_per_s=median(
            step.samples_per_s or step.samples / step.seconds for step in trace.steps if step.seconds > 0
        ),
        samples_per_s=overall,
        tokens_per_s=None if tokens is None else overall * tokens,
        mfu=fmean(told) if told else None,
        refused_frames=sum(event.refused for event in trace.rounds),
    )


def _signature_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it is written when the model is registered") from None


def _faults(figures: Figures) -> Iterator[str]:
    run, trained, compressed = figures.run, figures.trained.digest(), figures.compressed.digest()
    sites = {trace.site for trace in figures.traces}
    for name in ("bytes_sent", "wire_bytes_sent", "wait_s", "peak_memory_bytes"):
        if (found := set(getattr(run, name))) != sites:
            yield f"the run's {name} is of sites {sorted(found)}, the launch has {sorted(sites)}"
    metric = figures.launch.recipe.compress.gate.metric
    for trace in figures.traces:
        if all(metric not in event.metrics for event in trace.rounds):
            yield f"site {trace.site} told no round's {metric}"
    if run.manifest_digest != trained:
        yield f"the run made model {run.manifest_digest[:12]}, the trained model is {trained[:12]}"
    if trained not in figures.compressed.parents:
        yield f"the compressed model {compressed[:12]} was not made from the trained model {trained[:12]}"
    if figures.compression.manifest_digest != compressed:
        yield f"compression made {figures.compression.manifest_digest[:12]}, the compressed model is {compressed[:12]}"
    if figures.registration.model_digest != compressed:
        yield f"registered is model {figures.registration.model_digest[:12]}, the compressed model is {compressed[:12]}"


def _share_of_rate(payload_bytes: int, seconds: float, link: LinkFacts) -> float:
    return payload_bytes * _BITS_PER_BYTE / (seconds * link.rate_mbps * 1e6) if seconds > 0 else 0.0
