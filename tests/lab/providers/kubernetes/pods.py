"""Why pods do not become ready, in a few words each. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.lab.providers.kubernetes.objects import Object
from tests.lab.providers.kubernetes.readiness import condition

_SHOWN: Final = 3
_STARTING: Final = {"ContainerCreating", "PodInitializing"}


def selector(workload: Object) -> str | None:
    """The label selector by which a workload finds its pods, as a query; None where it has none."""
    chosen = (workload.get("spec") or {}).get("selector") or {}
    labels = chosen if workload["kind"] == "Service" else chosen.get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or None


def troubles(pods: Sequence[Object]) -> str:
    """What holds the pods up: the first few that are not ready, in one line; empty where all are, or none are there."""
    found = [f"pod {pod['metadata']['name']}: {why}" for pod in pods if (why := _trouble(pod))]
    more = f" (and {len(found) - _SHOWN} more pods)" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def _trouble(pod: Object) -> str:
    status: Mapping[str, Any] = pod.get("status") or {}
    if status.get("phase") == "Succeeded" or condition(pod, "Ready").get("status") == "True":
        return ""
    if status.get("phase") == "Failed" and status.get("reason"):
        return f"{status['reason']} {status.get('message', '')}".rstrip()
    unscheduled = condition(pod, "PodScheduled")
    if unscheduled.get("status") == "False":
        return f"{unscheduled.get('reason', 'Unschedulable')}: {unscheduled.get('message', '')}".rstrip(": ")
    told = [
        *_containers(status.get("initContainerStatuses") or []),
        *_containers(status.get("containerStatuses") or []),
    ]
    grave = [why for why, waits in told if not waits]
    return ", ".join(grave or [why for why, _ in told]) or str(status.get("phase", "Pending"))


def _containers(statuses: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, bool]]:
    """What holds containers up, each with whether it is merely starting."""
    for status in statuses:
        state, name = status.get("state") or {}, status["name"]
        last = (status.get("lastState") or {}).get("terminated")
        if waiting := state.get("waiting"):
            reason, message = waiting.get("reason", "waits"), waiting.get("message", "")
            ended = f" after status {last['exitCode']}" if last else ""
            yield f"container {name} {reason}{ended}{': ' if message else ''}{message}", reason in _STARTING
        elif (ended_now := state.get("terminated")) and ended_now.get("exitCode"):
            yield f"container {name} {ended_now.get('reason', 'ended')} with status {ended_now['exitCode']}", False
        elif "running" in state and not status.get("ready"):
            yield f"container {name} runs and is not ready", True
