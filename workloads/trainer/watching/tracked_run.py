"""MLflow's side of tracking. Its import takes seconds: only the sending thread does it."""

from collections.abc import Iterator, Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from pydantic import JsonValue

from workloads.registry.experiments import experiment_id, log_params
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent

Told = tuple[StepEvent | RoundEvent | NoteEvent, int]  # an event, and the steps that its site had made by then

TRAINING_TAG = "isthmus.training"  # a registration of the same run has the tag isthmus.run_id

_SERVER_FAULT = 500  # and above: not our mistake, so worth another attempt


class TrackedRun:
    """The run in MLflow that stands for a training run. Only its maker, the first site, says how it ends."""

    def __init__(self, client: MlflowClient, run_id: str, *, makes: bool) -> None:
        self._client = client
        self._run_id = run_id
        self._makes = makes

    def send(self, told: Sequence[Told]) -> bool:
        """Whether MLflow took them; False where it never will. Raises whatever its client raises when it cannot tell."""
        metrics = [metric for event, step in told for metric in _metrics(event, step)]
        tags = [_tag(event) for event, _ in told if isinstance(event, NoteEvent)]
        try:
            self._client.log_batch(self._run_id, metrics=metrics, tags=tags)
        except MlflowException as error:
            if error.get_http_status_code() >= _SERVER_FAULT:
                raise
            return False
        return True

    def end(self, *, finished: bool) -> None:
        """The run is over, or was cut off and will go on."""
        if self._makes:
            status = RunStatus.FINISHED if finished else RunStatus.KILLED
            self._client.set_terminated(self._run_id, RunStatus.to_string(status))


def step_metrics(event: StepEvent) -> dict[str, float]:
    """What is known of a step."""
    known = {
        "training_loss": event.loss,
        "step_s": event.seconds,
        "samples_per_s": event.samples_per_s,
        "mfu": event.mfu,
        "lr": event.lr,
        "grad_norm": event.grad_norm,
    }
    return {name: value for name, value in known.items() if value is not None}


def round_metrics(event: RoundEvent) -> dict[str, float]:
    """What a round came to."""
    return {
        "validation_loss": event.loss,
        **{f"validation_{name}": value for name, value in event.metrics.items()},
        "round_s": event.seconds,
        "wait_s": event.wait_s,
        "bytes_sent": float(event.bytes_sent),
        "bytes_received": float(event.bytes_received),
        "refused_frames": float(event.refused),
    }


def open_run(
    address: str, *, experiment: str, run_id: str, settings: dict[str, JsonValue], makes: bool
) -> TrackedRun | None:
    """The run of `run_id`. The site that `makes` it takes up the one of an earlier attempt; any other waits: None."""
    client = MlflowClient(tracking_uri=address)
    within = experiment_id(client, experiment)
    found = client.search_runs([within], f"tags.`{TRAINING_TAG}` = '{run_id}'", max_results=1)
    if not makes:
        return TrackedRun(client, found[0].info.run_id, makes=False) if found else None
    run = found[0] if found else client.create_run(within, run_name=run_id, tags={TRAINING_TAG: run_id})
    if found:
        client.update_run(run.info.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
    try:
        log_params(client, run.info.run_id, settings)
    except MlflowException as error:
        # a resumed run may have been planned anew; the first plan's parameters stand
        if error.get_http_status_code() >= _SERVER_FAULT:
            raise
    return TrackedRun(client, run.info.run_id, makes=True)


def _metrics(event: StepEvent | RoundEvent | NoteEvent, step: int) -> Iterator[Metric]:
    if isinstance(event, NoteEvent):
        return
    values = step_metrics(event) if isinstance(event, StepEvent) else round_metrics(event)
    for name, value in values.items():
        yield Metric(f"{event.site}/{name}", value, round(1000 * event.t), step)


def _tag(event: NoteEvent) -> RunTag:
    """Named by its time, so that a note that is sent again is there once."""
    return RunTag(f"note.{event.site}.{round(1000 * event.t)}", event.text)
