"""When an object is there for those who need it, as the official provider documents it for each kind. Pure.

The documentation is in the SDK: the docstrings of `kubernetes.apps.v1.Deployment` and the others. What it does not say a
word of is there as soon as it is applied; that holds for every custom resource unless `pulumi.com/waitFor` says more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.lab.providers.kubernetes.jsonpath import Expression
from tests.lab.providers.kubernetes.objects import Object


@dataclass(frozen=True)
class Verdict:
    ready: bool
    why_not: str = ""
    hopeless: bool = False  # it will not become ready, however long one waits


@dataclass(frozen=True)
class Around:
    """What an object's readiness depends on beside itself."""

    slices: Sequence[Object] = ()  # of a Service: where its traffic goes
    late_binding: bool = False  # a claim's class binds it only once a pod wants it


READY: Final = Verdict(ready=True)


def verdict(live: Object, around: Around) -> Verdict:
    """Whether the object is ready by the rules of its kind."""
    rule = _RULES.get((live["apiVersion"], live["kind"]))
    return rule(live, around) if rule else READY


def asked_for(live: Object, expressions: Sequence[Expression]) -> Verdict:
    """Whether the object is as `pulumi.com/waitFor` wants it."""
    missing = [expression.text for expression in expressions if not expression.holds(live)]
    return _unless(", ".join(missing) and f"not yet {', '.join(missing)}")


def _unless(why_not: str) -> Verdict:
    return Verdict(ready=False, why_not=why_not) if why_not else READY


def _status(live: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = live.get("status") or {}
    return found


def condition(live: Object, kind: str) -> Mapping[str, Any]:
    """The condition of a type; empty where there is none yet."""
    return next((item for item in _status(live).get("conditions") or [] if item["type"] == kind), {})


def _holds(live: Object, kind: str) -> bool:
    return bool(condition(live, kind).get("status") == "True")


def _unseen(live: Object) -> bool:
    """Whether the controller has not looked at the newest version of the object."""
    return int(_status(live).get("observedGeneration", 0)) < int(live["metadata"].get("generation", 1))


def _deployment(live: Object, _: Around) -> Verdict:
    status, wanted = _status(live), live["spec"].get("replicas", 1)
    if _unseen(live):
        return _unless("its controller has not seen it")
    if live["spec"].get("paused"):
        return _unless("it is paused")
    rolled_out = condition(live, "Progressing").get("reason") == "NewReplicaSetAvailable"
    if rolled_out and _holds(live, "Available") and status.get("updatedReplicas", 0) >= wanted:
        return READY
    blocked = condition(live, "ReplicaFailure").get("message", "")
    return _unless(f"{status.get('availableReplicas', 0)} of {wanted} replicas are available{_because(blocked)}")


def _stateful_set(live: Object, _: Around) -> Verdict:
    spec, status = live["spec"], _status(live)
    wanted = spec.get("replicas", 1)
    if _unseen(live):
        return _unless("its controller has not seen it")
    ready = status.get("readyReplicas", 0)
    if ready != wanted or status.get("replicas", 0) != wanted:
        return _unless(f"{ready} of {wanted} replicas are ready")
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return READY
    rolled_out = status.get("currentRevision") == status.get("updateRevision")
    return _unless(
        "" if rolled_out else f"{status.get('updatedReplicas', 0)} of {wanted} replicas are of its new version"
    )


def _daemon_set(live: Object, _: Around) -> Verdict:
    status = _status(live)
    if _unseen(live):
        return _unless("its controller has not seen it")
    wanted, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
    available = min(updated, status.get("numberAvailable", 0))
    return _unless("" if available >= wanted else f"{available} of {wanted} nodes have it")


def _job(live: Object, _: Around) -> Verdict:
    if _holds(live, "Failed"):
        failed = condition(live, "Failed")
        why = f"it failed: {failed.get('reason', '')} {failed.get('message', '')}".rstrip()
        return Verdict(ready=False, why_not=why, hopeless=True)
    if _holds(live, "Complete"):
        return READY
    if live["spec"].get("suspend"):
        return _unless("it is suspended")
    done, wanted = _status(live).get("succeeded", 0), live["spec"].get("completions") or 1
    return _unless(f"{done} of {wanted} completions are done")


def _service(live: Object, around: Around) -> Verdict:
    spec = live["spec"]
    if spec.get("type") == "LoadBalancer" and not (_status(live).get("loadBalancer") or {}).get("ingress"):
        return _unless("nobody has given it an address; does this cluster have load balancers")
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None" or not spec.get("selector"):
        return READY
    # whether they are ready is not asked, as the official provider does not
    found = any(piece.get("endpoints") for piece in around.slices)
    return _unless("" if found else "its selector finds no pod that has an address")


def _claim(live: Object, around: Around) -> Verdict:
    phase = _status(live).get("phase", "")
    awaited = {"Bound", "Pending"} if around.late_binding else {"Bound"}
    return _unless("" if phase in awaited else f"it is {phase or 'new'}, not Bound")


def _volume(live: Object, _: Around) -> Verdict:
    phase = _status(live).get("phase", "")
    return _unless("" if phase in {"Available", "Bound"} else f"it is {phase or 'new'}, not Available")


def _pod(live: Object, _: Around) -> Verdict:
    phase = _status(live).get("phase", "")
    if phase == "Failed":
        return Verdict(ready=False, why_not=f"it failed{_because(_status(live).get('message', ''))}", hopeless=True)
    return _unless("" if phase == "Succeeded" or _holds(live, "Ready") else f"it is {phase or 'new'}, not Ready")


def _namespace(live: Object, _: Around) -> Verdict:
    phase = _status(live).get("phase", "")
    return _unless("" if phase == "Active" else f"it is {phase or 'new'}, not Active")


def _definition(live: Object, _: Around) -> Verdict:
    if _holds(live, "Established"):
        return READY
    return _unless(f"it is not established{_because(condition(live, 'NamesAccepted').get('message', ''))}")


def _quota(live: Object, _: Around) -> Verdict:
    return _unless("" if _status(live).get("hard") == live["spec"].get("hard") else "it is not in force")


def _secret(live: Object, _: Around) -> Verdict:
    waits = live.get("type") == "kubernetes.io/service-account-token" and not live.get("data")
    return _unless("it has no token" if waits else "")


def _because(text: str) -> str:
    return f": {text}" if text else ""


_RULES: Final[Mapping[tuple[str, str], Callable[[Object, Around], Verdict]]] = {
    ("apps/v1", "DaemonSet"): _daemon_set,
    ("apps/v1", "Deployment"): _deployment,
    ("apps/v1", "StatefulSet"): _stateful_set,
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): _definition,
    ("batch/v1", "Job"): _job,
    ("v1", "Namespace"): _namespace,
    ("v1", "PersistentVolume"): _volume,
    ("v1", "PersistentVolumeClaim"): _claim,
    ("v1", "Pod"): _pod,
    ("v1", "ResourceQuota"): _quota,
    ("v1", "Secret"): _secret,
    ("v1", "Service"): _service,
}
