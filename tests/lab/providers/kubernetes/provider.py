"""Pulumi's resources as objects of the API."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from tests.lab.providers.contract import UNKNOWN, Ask, Difference, HalfMadeError, Standin, Values, has_unknown
from tests.lab.providers.kubernetes import comparing, immutable, kubeconfig, objects, paths
from tests.lab.providers.kubernetes.api import Api, ApiError, UnknownKindError
from tests.lab.providers.kubernetes.awaiting import Awaiting, NotReadyError, limit_s
from tests.lab.providers.kubernetes.jsonpath import expressions
from tests.lab.providers.kubernetes.objects import Object, Reference
from workloads.spec.errors import UserError

_PATCH_FORCE: Final = "pulumi.com/patchForce"
_PROPAGATION: Final = "pulumi.com/deletionPropagationPolicy"
_POLICIES: Final = {"orphan": "Orphan", "background": "Background"}
_MISSING_LIMIT_S: Final = 30

# the provider's inputs and the variables that stand in for them
_SWITCHES: Final = {
    "enableConfigMapMutable": "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE",
    "enablePatchForce": "PULUMI_K8S_ENABLE_PATCH_FORCE",
    "enableSecretMutable": "PULUMI_K8S_ENABLE_SECRET_MUTABLE",
    "upsertExistingObjects": "PULUMI_K8S_UPSERT_EXISTING_OBJECTS",
}
_MUTABLE: Final = {"enableConfigMapMutable": "ConfigMap", "enableSecretMutable": "Secret"}


class Kubernetes(Standin):
    package: ClassVar[str] = "kubernetes"

    _api: Api | None = None  # a preview may not know the cluster yet
    _awaiting: Awaiting
    _on: frozenset[str] = frozenset()

    def configure(self, values: Values) -> None:
        given = values.get("kubeconfig") or os.environ.get("KUBECONFIG", "")
        if not given:
            raise UserError(
                "the Kubernetes provider has no kubeconfig; give it one as an input, for a stand-in guesses none"
            )
        if str(values.get("enableServerSideApply", True)).lower() == "false":
            raise UserError("enableServerSideApply is false; the lab's stand-in applies by the server alone")
        self._on = frozenset(
            name for name, variable in _SWITCHES.items() if _is_true(values.get(name, os.environ.get(variable)))
        )
        if not has_unknown(given):
            way = kubeconfig.access(str(given), str(values.get("context") or ""))
            self.connect(Api(replace(way, namespace=values.get("namespace") or way.namespace)))

    def connect(self, api: Api) -> None:
        self._api, self._awaiting = api, Awaiting(api)

    def check(self, ask: Ask) -> tuple[Values, dict[str, str]]:
        objects.require_supported(ask.token)
        faults = {key: "is missing; every object has one" for key in ("apiVersion", "kind") if not ask.new.get(key)}
        if objects.metadata(ask.new).get("generateName"):
            faults["metadata.generateName"] = "draws a name at the server; leave it out to have one drawn here"
        if waits := objects.annotations(ask.new).get("pulumi.com/waitFor"):
            expressions(waits)
        return objects.guarded(objects.named(ask.new, ask.old, ask.name, ask.seed)), faults

    def diff(self, ask: Ask) -> Difference:
        """What differs between the inputs, less what the server says makes no difference to the object."""
        ignored = [paths.parse(text) for text in ask.ignored]
        old, new = (comparing.settled(paths.without(value, ignored)) for value in (ask.old, ask.new))
        changed = paths.differences(old, new)
        if not changed:
            return Difference()
        mutable = frozenset(kind for switch, kind in _MUTABLE.items() if switch in self._on)
        replaced = immutable.replacing(old, new, changed, mutable)
        if not replaced and self._api is not None and not has_unknown(ask.new):
            difference, forbidden = self._tried(self._api, ask, ignored)
            if not difference:
                return Difference()
            replaced = changed if forbidden else []
        return Difference(
            _roots(changed), _roots(replaced), delete_first=bool(replaced) and immutable.in_the_way(old, new)
        )

    def create(self, ask: Ask) -> tuple[str, Values]:
        if ask.preview:
            self._require_valid(ask.new)
            return "", ask.new
        body = objects.sent(ask.new)
        api, wanted, limit = self._connected, objects.reference(body), limit_s(ask.limit_s, ask.new)
        self._require_free(api, wanted, limit)
        force = self._forces(ask.new)
        live = self._awaiting.retried(lambda: _applied(api, body, {}, force=force), _MISSING_LIMIT_S)
        identity = objects.reference(live).identity
        return identity, self._settled(identity, live, limit)

    def read(self, ask: Ask) -> tuple[Values, Values] | None:
        api = self._connected
        try:
            live = api.get(_reference(ask))
        except UnknownKindError:  # with its definition went every object of it
            return None
        if live is None:
            return None
        inputs = objects.guarded(_found(api, ask.old, live) if ask.old else objects.substance(live))
        told = self._awaiting.now(live)
        if not told.ready:
            cause = NotReadyError(f"{objects.reference(live)} is not ready: {told.why_not}")
            raise HalfMadeError(ask.id, objects.kept(live), cause, inputs)
        return objects.kept(live), inputs

    def update(self, ask: Ask) -> Values:
        if ask.preview and (self._api is None or has_unknown(ask.new)):
            return ask.new
        api, ignored = self._connected, [paths.parse(text) for text in ask.ignored]
        body = objects.sent(ask.new)
        left = comparing.left_to_others(body, api.get(objects.reference(body)), ignored)
        live = _applied(api, left, objects.sent(ask.old), force=self._forces(ask.new), dry_run=ask.preview)
        return objects.kept(live) if ask.preview else self._settled(ask.id, live, limit_s(ask.limit_s, ask.new))

    def delete(self, ask: Ask) -> None:
        policy = objects.annotations(ask.old).get(_PROPAGATION, "").lower()
        wanted = _reference(ask)
        try:
            if self._connected.delete(wanted, _POLICIES.get(policy, "Foreground")):
                self._awaiting.gone(wanted, limit_s(ask.limit_s, ask.old))
        except UnknownKindError:
            return

    def invoke(self, function: str, arguments: Values) -> Values:
        raise UserError(f"{function} is no object of the API; the lab's stand-in has no functions")

    def cancel(self) -> None:
        if self._api is not None:
            self._awaiting.end()

    def explain(self, error: Exception) -> str | None:
        return str(error) if isinstance(error, UserError | ApiError | NotReadyError) else None

    @property
    def _connected(self) -> Api:
        if self._api is None:
            raise UserError("the kubeconfig is not known yet; bring the cluster up first")
        return self._api

    def _forces(self, inputs: Object) -> bool:
        return "enablePatchForce" in self._on or objects.annotations(inputs).get(_PATCH_FORCE) == "true"

    def _require_valid(self, inputs: Object) -> None:
        """Let the server look at an object that is to be created, as far as a preview can know it.

        Raises `ApiError` for what is wrong with it. A namespace, kind or webhook that is yet to come is no fault of it.
        """
        if self._api is None or has_unknown(inputs):
            return
        body = objects.sent(inputs)
        try:
            if self._api.get(objects.reference(body)) is None:  # else it is there, to be replaced
                self._api.apply(body, force=False, dry_run=True)
        except ApiError as error:
            if error.is_wrong:
                raise

    def _require_free(self, api: Api, wanted: Reference, limit: float) -> None:
        """Raises `UserError` where an object of that name is there: applied to, it would be taken over unnoticed."""
        try:
            there = api.get(wanted)
        except UnknownKindError:
            return
        if there is None or "upsertExistingObjects" in self._on:
            return
        if not there["metadata"].get("deletionTimestamp"):
            raise UserError(
                f"{wanted} is there already and not of this stack; import it, delete it, or set upsertExistingObjects"
            )
        self._awaiting.gone(wanted, limit)

    def _tried(self, api: Api, ask: Ask, ignored: Sequence[paths.Path]) -> tuple[bool, bool]:
        """Whether the new inputs make another object of the old, and whether the server forbids it to become that."""
        body = objects.sent(ask.new)
        try:
            live = api.get(objects.reference(body))
            if live is None:
                return True, False
            tried = api.apply(comparing.left_to_others(body, live, ignored), force=True, dry_run=True)
        except ApiError as error:
            forbidden = immutable.refused_as_immutable(error.message)
            if error.is_wrong and not forbidden:
                raise
            return True, forbidden
        return comparing.changes(live, tried, ignored), False

    def _settled(self, identity: str, live: Object, limit: float) -> Values:
        """The object's state once it is ready. Raises `HalfMadeError` where it does not become so."""
        try:
            return objects.kept(self._awaiting.ready(live, limit))
        except (ApiError, NotReadyError, UserError) as error:
            raise HalfMadeError(identity, objects.kept(live), error) from error


def _applied(api: Api, body: Object, own: Mapping[str, Any], *, force: bool, dry_run: bool = False) -> Object:
    """Apply an object without taking another manager's fields, but for those that are in `own`.

    What the program had set before and somebody has changed since is its own, and is taken back; the official provider
    would stop there. What it sets for the first time and somebody else has is theirs: taking it would start a quarrel
    between two controllers.
    """
    try:
        return api.apply(body, force=force, dry_run=dry_run)
    except ApiError as error:
        theirs = {field: who for field, who in error.conflicts.items() if not paths.declares(own, field)}
        if theirs:
            told = ", ".join(f"{field} of {who}" for field, who in theirs.items())
            raise UserError(
                f"{objects.reference(body)}: others have set {told}; leave it out, or take it by the annotation "
                f'{_PATCH_FORCE}: "true"'
            ) from None
        if not error.conflicts:
            raise
    return api.apply(body, force=True, dry_run=dry_run)


def _found(api: Api, declared: Object, live: Object) -> Object:
    """The inputs as they are in the cluster; the server says what they would be as they were declared."""
    body = objects.sent(declared)
    try:
        tried = api.apply(body, force=True, dry_run=True)
    except ApiError:  # a change that it refuses is one, too
        tried = body
    now, would = (objects.as_declared(value, declared) for value in (live, tried))
    told: Object = comparing.found(declared, now, would)
    return told


def _reference(ask: Ask) -> Reference:
    """By the id, since names in inputs may be older; by the inputs' kind, which a token may abridge."""
    told = objects.reference_of(ask.token, ask.id)
    return Reference(
        ask.old.get("apiVersion", told.api_version), ask.old.get("kind", told.kind), told.name, told.namespace
    )


def _roots(changed: Iterable[paths.Path]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(path[0]) for path in changed))


def _is_true(value: object) -> bool:
    return str(value).lower() == "true" and value != UNKNOWN
