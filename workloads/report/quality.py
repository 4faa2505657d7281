"""A model's metrics beside what is had without a model. A key `majority_accuracy` is the baseline `majority` of `accuracy`."""

from collections.abc import Mapping
from dataclasses import dataclass

from workloads.report.wording import metric_name

_HIGHER_IS_BETTER = frozenset({"accuracy", "auc"})
_KNOWN = ("accuracy", "auc", "bits_per_byte", "brier", "calibration_error", "loss")
_BASELINES = {
    "majority": "always naming the commonest class",
    "unigram": "knowing the bytes' frequencies alone",
    "prior": "knowing the classes' frequencies alone",
    "nearest_mean": "naming the class with the nearest mean",
}


@dataclass(frozen=True)
class Baseline:
    """What can be had more simply, in words and as the metric's value."""

    words: str
    value: float


@dataclass(frozen=True)
class MetricRow:
    """One metric before and after compression, both on the held-out data of all sites."""

    metric: str
    name: str
    trained: float
    compressed: float | None
    baselines: tuple[Baseline, ...]


def metric_rows(trained: Mapping[str, float], compressed: Mapping[str, float]) -> tuple[MetricRow, ...]:
    """A row for each metric that is known here, in a fixed order."""
    return tuple(
        MetricRow(metric, metric_name(metric), trained[metric], compressed.get(metric), baselines(metric, trained))
        for metric in _KNOWN
        if metric in trained
    )


def baselines(metric: str, metrics: Mapping[str, float]) -> tuple[Baseline, ...]:
    """All baselines of `metric`, the best first."""
    found = [
        Baseline(_BASELINES.get(kind, kind.replace("_", " ")), metrics[key])
        for key in metrics
        if (kind := key.removesuffix(f"_{metric}")) != key
    ]
    return tuple(sorted(found, key=lambda baseline: baseline.value, reverse=is_higher_better(metric)))


def is_higher_better(metric: str) -> bool:
    """Whether more of `metric` is better, as of accuracy, or less, as of loss."""
    return metric in _HIGHER_IS_BETTER
