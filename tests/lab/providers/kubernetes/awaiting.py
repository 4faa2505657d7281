"""Waiting for objects to become ready, and to be gone."""

import threading
import time
from collections.abc import Callable
from typing import Final

import httpx

from tests.lab.providers.contract import LIMIT_S
from tests.lab.providers.kubernetes.api import Api, ApiError
from tests.lab.providers.kubernetes.jsonpath import expressions
from tests.lab.providers.kubernetes.objects import Object, Reference, annotations, reference
from tests.lab.providers.kubernetes.pods import selector, troubles
from tests.lab.providers.kubernetes.readiness import READY, Around, Verdict, asked_for, verdict
from workloads.spec.errors import UserError

SKIP: Final = "pulumi.com/skipAwait"
TIMEOUT: Final = "pulumi.com/timeoutSeconds"
WAIT_FOR: Final = "pulumi.com/waitFor"

_NOT_FOUND: Final = httpx.codes.NOT_FOUND

_LOOK_S: Final = 0.25
_EVENTS: Final = 2
_RUNNERS: Final = frozenset({"DaemonSet", "Deployment", "Job", "Service", "StatefulSet"})


class NotReadyError(Exception):
    """An object is there and not ready, in one line: for how long, and what holds it up."""


class Awaiting:
    """Looks again and again, until what is awaited is so, it is too late, or `end` was called."""

    def __init__(self, api: Api) -> None:
        self._api, self._ended = api, threading.Event()

    def end(self) -> None:
        self._ended.set()

    def ready(self, live: Object, limit_s: float) -> Object:
        """The object once it is ready. Raises `NotReadyError`, `UserError` when interrupted, and `ApiError`."""
        wanted = reference(live)
        seen: list[Object] = []

        def look() -> Verdict:
            # most are ready as they were applied, and need no second look
            seen[:] = [self._current(wanted) if seen else live]
            return self.now(seen[-1])

        told = self._until(look, limit_s)
        if told.ready:
            return seen[-1]
        after = "" if told.hopeless else f" after {limit_s:g} s"
        raise NotReadyError(f"{wanted} is not ready{after}: {told.why_not}{self._reasons(seen[-1])}".replace("\n", " "))

    def now(self, live: Object) -> Verdict:
        """Whether an object is ready at this moment, by its annotations or the rules of its kind."""
        marks = annotations(live)
        if marks.get(SKIP) == "true":
            return READY
        if WAIT_FOR in marks:
            return asked_for(live, expressions(marks[WAIT_FOR]))
        return verdict(live, self._around(live))

    def gone(self, wanted: Reference, limit_s: float) -> None:
        """Return when the object is not there, or another one is in its place. Raises `NotReadyError`."""
        first = self._api.get(wanted)
        if first is None:
            return
        seen = [first]

        def look() -> Verdict:
            now = self._api.get(wanted)
            if now is None or now["metadata"]["uid"] != first["metadata"]["uid"]:
                return READY
            seen.append(now)
            return Verdict(ready=False, why_not=_what_holds(now))

        told = self._until(look, limit_s)
        if not told.ready:
            raise NotReadyError(f"{wanted} is still there after {limit_s:g} s: {told.why_not}".replace("\n", " "))

    def retried(self, work: Callable[[], Object], limit_s: float) -> Object:
        """What `work` gives, tried again while what it needs (its kind, its namespace, a webhook) is not there.

        Raises the last `ApiError`.
        """
        done: list[Object] = []
        failed: list[ApiError] = []

        def look() -> Verdict:
            try:
                done.append(work())
            except ApiError as error:
                if error.status != _NOT_FOUND and not error.is_passing:
                    raise
                failed.append(error)
            return READY if done else Verdict(ready=False)

        if not self._until(look, limit_s).ready:
            raise failed[-1]
        return done[-1]

    def _current(self, wanted: Reference) -> Object:
        now = self._api.get(wanted)
        if now is None:
            raise NotReadyError(f"{wanted} was deleted by somebody while it was awaited")
        return now

    def _until(self, look: Callable[[], Verdict], limit_s: float) -> Verdict:
        deadline = time.monotonic() + limit_s
        while True:
            try:
                told = look()
            except ApiError as error:
                if not error.is_passing:
                    raise
                told = Verdict(ready=False, why_not=str(error))
            if told.ready or told.hopeless or time.monotonic() > deadline:
                return told
            if self._ended.wait(_LOOK_S):
                raise UserError("interrupted; what was begun goes on in the cluster, and the next update looks at it")

    def _around(self, live: Object) -> Around:
        namespace, name = live["metadata"].get("namespace", ""), live["metadata"]["name"]
        if live["kind"] == "Service" and live["apiVersion"] == "v1":
            chosen = f"kubernetes.io/service-name={name}"
            slices = self._api.list("discovery.k8s.io/v1", "EndpointSlice", namespace, labelSelector=chosen)
            return Around(slices=slices)
        class_name = live.get("spec", {}).get("storageClassName")
        if live["kind"] == "PersistentVolumeClaim" and class_name:
            found = self._api.get(Reference("storage.k8s.io/v1", "StorageClass", class_name))
            return Around(late_binding=(found or {}).get("volumeBindingMode") == "WaitForFirstConsumer")
        return Around()

    def _reasons(self, live: Object) -> str:
        """What pods say that keeps the object waiting, else what its events say."""
        namespace, chosen = live["metadata"].get("namespace", ""), selector(live)
        try:
            if live["kind"] in _RUNNERS and chosen:
                pods = self._api.list("v1", "Pod", namespace, labelSelector=chosen)
                if told := troubles(pods):
                    return f"; {told}"
            about = f"involvedObject.uid={live['metadata']['uid']},type=Warning"
            events = self._api.list("v1", "Event", namespace, fieldSelector=about)
        except ApiError as error:
            return f"; and why cannot be told: {error}"
        told_last = [f"{event.get('reason', '')}: {event.get('message', '')}" for event in events[-_EVENTS:]]
        return "".join(f"; {text}" for text in told_last)


def limit_s(given: float, inputs: Object) -> float:
    """How long to wait, in seconds: the program's `customTimeouts`, else the annotation, else the usual."""
    own = annotations(inputs).get(TIMEOUT, "")
    return float(own) if given == LIMIT_S and own.isdecimal() else given


def _what_holds(live: Object) -> str:
    """Why an object that is to go is there: its finalizers, and what a namespace says of its contents."""
    metadata = live["metadata"]
    waits = [*(metadata.get("finalizers") or []), *((live.get("spec") or {}).get("finalizers") or [])]
    told = [
        item["message"]
        for item in (live.get("status") or {}).get("conditions") or []
        if live["kind"] == "Namespace" and item["status"] == "True" and item["type"].startswith("Namespace")
    ]
    held = f"it waits for {', '.join(map(str, waits))}" if waits else "nobody says why"
    return "; ".join([held if metadata.get("deletionTimestamp") else "its deletion was not taken up", *told])
