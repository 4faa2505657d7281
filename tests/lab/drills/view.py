"""The cluster as the drills look at it: objects by kind, commands in pods, waiting for what must come about."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from tests.lab.daemons import LabError
from tests.lab.log import Log

Manifest = Mapping[str, Any]
Found = TypeVar("Found")

_POLL_S = 1.0  # each look is a process of its own on a machine that has enough to do


class Kubectl(Protocol):
    """What the drills need of the cluster."""

    def kubectl(self, *args: str, input: str | None = None) -> str: ...  # noqa: A002
    def cut(self) -> None: ...
    def mend(self) -> None: ...
    def kill_node(self, name: str) -> None: ...
    def start_node(self, name: str) -> None: ...
    def carried(self) -> int: ...
    def reset_volumes(self) -> None: ...


class View:
    """Raises `LabError` where the cluster does not answer or says no."""

    def __init__(self, cluster: Kubectl, log: Log) -> None:
        self.cluster, self._log = cluster, log

    def one(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        return dict(json.loads(self.cluster.kubectl("get", kind, name, "-n", namespace, "-o", "json")))

    def all(self, kind: str, namespace: str | None = None, selector: Mapping[str, str] | None = None) -> list[Any]:
        where = ["-A"] if namespace is None else ["-n", namespace]
        chosen = ["-l", ",".join(f"{key}={value}" for key, value in selector.items())] if selector else []
        return list(json.loads(self.cluster.kubectl("get", kind, *where, *chosen, "-o", "json"))["items"])

    def there(self, kind: str, name: str, namespace: str = "default") -> bool:
        return bool(
            self.cluster.kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "name").strip()
        )

    def apply(self, *manifests: Manifest) -> None:
        whole = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        said = self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(whole))
        self.say(said)

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        self.say(self.cluster.kubectl("delete", kind, name, "-n", namespace, "--ignore-not-found", "--wait=true"))

    def run(self, namespace: str, pod: str, container: str, *command: str) -> str:
        """What a command in a container prints."""
        return self.cluster.kubectl("exec", "-n", namespace, pod, "-c", container, "--", *command)

    def logs(self, namespace: str, pod: str, container: str) -> str:
        return self.cluster.kubectl("logs", "-n", namespace, pod, "-c", container)

    def until(self, what: str, look: Callable[[], Found], limit_s: float) -> Found:
        """What `look` finds, as soon as it is something. A cluster that does not answer for a moment is asked again."""
        deadline, trouble = time.monotonic() + limit_s, ""
        while True:
            try:
                if found := look():
                    self.say(f"{what}: so it is")
                    return found
            except LabError as error:
                trouble = f": {error}"
            if time.monotonic() > deadline:
                raise LabError(f"{what}: not after {limit_s:g} s{trouble}{self._standing()}")
            time.sleep(_POLL_S)

    def say(self, text: str) -> None:
        self._log.say("drill", text)

    def _standing(self) -> str:
        """Pods that are not well, for whoever reads why something did not come about."""
        try:
            pods = self.all("pods")
        except LabError:
            return ""
        return "".join(f"\n{line}" for line in unwell(pods))


def unwell(pods: Sequence[Manifest]) -> list[str]:
    """A line for each pod that is neither ready nor through. Pure."""
    lines = []
    for pod in pods:
        status = pod.get("status", {})
        if status.get("phase") == "Succeeded" or condition(pod, "Ready"):
            continue
        states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        reasons = [
            f"{state['name']} {waiting.get('reason', '')} {waiting.get('message', '')}".strip()
            for state in states
            if (waiting := state["state"].get("waiting") or state["state"].get("terminated"))
            and waiting.get("reason") not in {"PodInitializing", "Completed"}
        ]
        unscheduled = [
            each.get("message", "") for each in status.get("conditions", []) if each.get("reason") == "Unschedulable"
        ]
        where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        lines.append(
            f"{where}: {status.get('phase')}; {'; '.join([*reasons, *unscheduled]) or 'no reason given'}"[:300]
        )
    return lines


def condition(thing: Manifest, kind: str) -> bool:
    """Whether an object says that something is so. Pure."""
    conditions = thing.get("status", {}).get("conditions") or []
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def restarts(pod: Manifest) -> int:
    """Of all containers of a pod. Pure."""
    status = pod.get("status", {})
    states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return sum(state["restartCount"] for state in states)
