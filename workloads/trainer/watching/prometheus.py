"""Metrics of a site for Prometheus: at a port if the launch gives one, and in a file for node-exporter.

An event costs the training thread an assignment or two; everything else is done by whoever asks. Times of day are
exported as they are, not as ages: the age of the checkpoint is `time() - isthmus_checkpoint_timestamp_seconds`.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from workloads.spec.errors import UserError
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent
from workloads.spec.launch import LaunchSpec, SiteLaunch
from workloads.trainer.watching.pacing import Pacing
from workloads.trainer.watching.rates import tokens_a_sample

METRICS = "metrics.prom"

_SECONDS_BETWEEN_WRITES = 5.0

Refusals = Callable[[], Mapping[str, int]]
Family = GaugeMetricFamily | CounterMetricFamily
Values = Mapping[tuple[str, ...], float]  # by the values of further labels


@dataclass(frozen=True)
class Totals:
    """What adds up while one process trains."""

    rounds: int = 0
    seconds: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    wait_s: float = 0.0

    def after(self, event: RoundEvent) -> "Totals":
        """The totals with one round more."""
        return Totals(
            self.rounds + 1,
            self.seconds + event.seconds,
            self.bytes_sent + event.bytes_sent,
            self.bytes_received + event.bytes_received,
            self.wait_s + event.wait_s,
        )


@dataclass(frozen=True)
class Standing:
    """All that a site's metrics follow from."""

    step: StepEvent | None = None
    round: RoundEvent | None = None
    committed: int = 0  # rounds merged, over all resumptions
    committed_at: int | None = None  # step at which the newest of them was merged; None before the first step
    totals: Totals = Totals()
    notes: int = 0
    checkpoint_t: float | None = None  # seconds since the epoch


class SiteMetrics(Collector):
    """A hook that keeps the metrics of `site`.

    `refused` gives the frames refused so far by reason, and may be called by any thread. `say` is told once, by the
    thread that calls the hook, when the file cannot be written; training goes on.

    Raises:
        UserError: the port that the launch gives is in use.
    """

    def __init__(self, launch: LaunchSpec, site: SiteLaunch, refused: Refusals, say: Callable[[str], None]) -> None:
        self._labels = {"site": site.name, "run": launch.run_id}
        self._pacing = Pacing(launch.plan)
        self._tokens = tokens_a_sample(launch.recipe)
        self._refused = refused
        self._say = say
        self._standing = Standing()
        self._checkpoint_t: float | None = None
        self._started = False
        self._trouble: str | None = None
        self._told = False
        self._path = site.work / METRICS
        site.work.mkdir(parents=True, exist_ok=True)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._server = None if site.metrics is None else _serve(site, site.metrics, self._registry)
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._keep_written, name="metrics", daemon=True)
        self._writer.start()

    def round_started(self, number: int) -> None:
        """The first one says after which round the process began."""
        if not self._started:
            self._started = True
            self._standing = replace(self._standing, committed=number - 1)
        self._tell()

    def step(self, event: StepEvent) -> None:
        """The newest step."""
        known = self._standing
        committed_at = event.step - 1 if known.committed_at is None else known.committed_at
        self._standing = replace(known, step=event, committed_at=committed_at)

    def round_committed(self, event: RoundEvent) -> None:
        """The newest round, and what adds up."""
        known = self._standing
        self._standing = replace(
            known,
            round=event,
            committed=event.round,
            committed_at=known.step.step if known.step else None,
            totals=known.totals.after(event),
        )
        self._tell()

    def note(self, event: NoteEvent) -> None:
        """Notes are counted; the log has their words."""
        del event
        self._standing = replace(self._standing, notes=self._standing.notes + 1)

    def checkpointed(self, t: float) -> None:
        """A checkpoint is durable since `t`, in seconds since the epoch. Any thread may say so."""
        self._checkpoint_t = t

    def close(self) -> None:
        """Write the file once more and free the port. A second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._writer.join()
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
        self._tell()

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand. Prometheus' library calls it, in a thread of its own."""
        standing = replace(self._standing, checkpoint_t=self._checkpoint_t)
        return families(standing, self._pacing, self._tokens, self._refused(), self._labels)

    def describe(self) -> list[Metric]:
        """Nothing: what is exported depends on what is known."""
        return []

    def _keep_written(self) -> None:
        while True:
            last = self._closing.wait(_SECONDS_BETWEEN_WRITES)
            try:
                write_to_textfile(str(self._path), self._registry)
            except OSError as error:
                self._trouble = (
                    f"{self._path}: {error.strerror}; training goes on, the file is behind until there is room"
                )
            if last:
                return

    def _tell(self) -> None:
        if self._trouble is not None and not self._told:
            self._told = True
            self._say(self._trouble)


def families(
    standing: Standing, pacing: Pacing, tokens: int | None, refused: Mapping[str, int], labels: Mapping[str, str]
) -> Iterator[Metric]:
    """The metrics that are known of a site; one that is not, such as MFU without the site's speed, is left out.

    `tokens` are those of one sample, None where the data is not text.
    """

    def metric(kind: type[Family], name: str, words: str, values: Values, *more: str) -> Metric:
        family = kind(f"isthmus_{name}", words, labels=(*labels, *more))
        for key, value in values.items():
            family.add_metric((*labels.values(), *key), value)
        return family

    def gauge(name: str, words: str, value: float) -> Metric:
        return metric(GaugeMetricFamily, name, words, {(): value})

    def counter(name: str, words: str, value: float) -> Metric:
        return metric(CounterMetricFamily, name, words, {(): value})

    step, merged, totals = standing.step, standing.round, standing.totals
    yield gauge("planned_rounds", "Rounds of the whole run.", pacing.rounds)
    yield gauge("planned_steps", "Inner steps of the whole run at one site.", pacing.steps)
    yield gauge("round", "Rounds that all sites have merged, over all resumptions.", standing.committed)
    if step is not None:
        yield from _of_step(step, tokens, gauge)
        since = step.step - (standing.committed_at or 0)
        ahead = pacing.steps_ahead(standing.committed, since)
        yield gauge("steps_ahead", "Steps made since the next merge was due; more than 0 in an outage.", ahead)
    if merged is not None:
        yield gauge("round_seconds", "Time of the newest round.", merged.seconds)
        yield gauge("validation_loss", "Loss on what the newest round did not train on.", merged.loss)
        quality: Values = {(name,): value for name, value in merged.metrics.items()}
        yield metric(GaugeMetricFamily, "validation_quality", "Metrics on what was not trained on.", quality, "metric")
    yield counter("rounds", "Rounds merged by this process.", totals.rounds)
    yield counter("training_seconds", "Time of the rounds merged by this process.", totals.seconds)
    yield counter("sent_bytes", "Payload put on the link.", totals.bytes_sent)
    yield counter("received_bytes", "Payload taken from the link.", totals.bytes_received)
    yield counter("link_wait_seconds", "Time spent waiting for the other sites.", totals.wait_s)
    by_reason: Values = {(reason,): float(count) for reason, count in refused.items()}
    yield metric(CounterMetricFamily, "refused_frames", "Frames refused, by reason.", by_reason, "reason")
    yield counter("notes", "Things out of the ordinary; events.jsonl has their words.", standing.notes)
    if standing.checkpoint_t is not None:
        yield gauge("checkpoint_timestamp_seconds", "When the newest checkpoint became durable.", standing.checkpoint_t)


def _of_step(step: StepEvent, tokens: int | None, gauge: Callable[[str, str, float], Metric]) -> Iterator[Metric]:
    rate = step.samples_per_s or (step.samples / step.seconds if step.seconds > 0 else 0.0)
    yield gauge("step", "Inner steps made, over all resumptions.", step.step)
    yield gauge("step_timestamp_seconds", "When the newest step was made.", step.t)
    yield gauge("step_seconds", "Time of the newest step.", step.seconds)
    yield gauge("training_loss", "Loss of the newest step.", step.loss)
    yield gauge("samples_per_second", "Samples trained on.", rate)
    if tokens is not None:
        yield gauge("tokens_per_second", "Tokens trained on.", rate * tokens)
    if step.mfu is not None:
        yield gauge(
            "model_flops_utilization_ratio", "FLOPs that the model needs, of those that the site can do.", step.mfu
        )
    if step.lr is not None:
        yield gauge("learning_rate", "Of the inner optimiser.", step.lr)
    if step.grad_norm is not None:
        yield gauge("gradient_norm", "Before clipping.", step.grad_norm)


def _serve(site: SiteLaunch, port: int, registry: CollectorRegistry) -> tuple[WSGIServer, threading.Thread]:
    try:
        return start_http_server(port, site.metrics_host, registry)
    except OSError as error:
        raise UserError(
            f"site {site.name}: metrics cannot listen on {site.metrics_host}:{port}, {error.strerror}; "
            "stop what has the port, or give another in metrics"
        ) from None
