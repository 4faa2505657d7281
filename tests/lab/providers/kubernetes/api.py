"""An API server over HTTP: discovery and five verbs, on plain values."""

import re
import threading
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.lab.kubeconfig import Access
from tests.lab.providers.kubernetes.comparing import MANAGER
from tests.lab.providers.kubernetes.objects import DEFAULT_NAMESPACE, Object, Reference, reference

_TIMEOUT_S: Final = 60  # an admission webhook may take 30 of them
_APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML
_BUSY: Final = frozenset({429, 500, 502, 503, 504})
_WRONG: Final = frozenset({400, 403, 422})
_UNDECLARED: Final = "field not declared in schema"  # which the server takes for a fault of its own
_MANAGER_NAMED: Final = re.compile(r'conflict with "([^"]+)"')


class ApiError(Exception):
    """What the server, or the way to it, says against a request."""

    def __init__(self, subject: str, status: int, message: str, details: Object | None = None) -> None:
        super().__init__(f"{subject}: {message}".replace("\n", " "))
        self.status, self.message, self.details = status, message, details or {}

    @property
    def is_passing(self) -> bool:
        """Whether the same request may do better in a moment."""
        return (self.status == 0 or self.status in _BUSY) and not self.is_wrong

    @property
    def is_wrong(self) -> bool:
        """Whether it is the object's own fault: nothing that is yet to be created will mend it."""
        return (self.status in _WRONG and not self.is_terminating) or _UNDECLARED in self.message

    @property
    def conflicts(self) -> dict[str, str]:
        """Fields of a refused application that another manager has, with its name."""
        return {
            cause["field"]: (_MANAGER_NAMED.findall(cause.get("message", "")) or ["another manager"])[0]
            for cause in self.details.get("causes", [])
            if cause.get("reason") == "FieldManagerConflict"
        }

    @property
    def is_terminating(self) -> bool:
        """Whether the object's namespace is on its way out."""
        return any(cause.get("reason") == "NamespaceTerminating" for cause in self.details.get("causes", []))


class UnknownKindError(ApiError):
    """The server has no such kind: nothing of it can be there, and its definition may be yet to come."""


@dataclass(frozen=True)
class Kind:
    """Where a kind's objects are."""

    plural: str
    namespaced: bool


class Api:
    """The server that a kubeconfig names. Safe in threads."""

    def __init__(self, access: Access, transport: httpx.BaseTransport | None = None) -> None:
        self.namespace = access.namespace or DEFAULT_NAMESPACE
        headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}
        self._http = httpx.Client(
            base_url=access.server,
            headers=headers,
            # from the environment would come a proxy, which stands outside of the lab
            trust_env=False,
            transport=transport or httpx.HTTPTransport(verify=access.tls(), retries=2),
            timeout=_TIMEOUT_S,
        )
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        self._http.close()

    def get(self, wanted: Reference) -> Object | None:
        """The object as it is; None where it is not. Raises `UnknownKindError` and `ApiError`."""
        return self._none_of_404("GET", self._path(wanted), wanted)

    def apply(self, body: Object, *, force: bool, dry_run: bool = False) -> Object:
        """Make the object what `body` says of it: https://kubernetes.io/docs/reference/using-api/server-side-apply/.

        Raises `ApiError`, with `conflicts` where fields are another manager's and `force` does not say to take them.
        """
        wanted = reference(body)
        query = {"fieldManager": MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        path = self._path(wanted)
        return self._ask("PATCH", path, wanted, params=query, json=body, headers={"Content-Type": _APPLY})

    def delete(self, wanted: Reference, propagation: str) -> bool:
        """Ask for the object's end; False where it is not there. Raises `ApiError`."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        return self._none_of_404("DELETE", self._path(wanted), wanted, json=options) is not None

    def list(self, api_version: str, kind: str, namespace: str = "", **query: str) -> list[Object]:
        """Objects of a kind, chosen by `labelSelector` or `fieldSelector`. Raises `ApiError`."""
        path = self._path(Reference(api_version, kind, "", namespace)).removesuffix("/")
        items = self._ask("GET", path, f"{kind} list", params=query)["items"] or []
        return [{"apiVersion": api_version, "kind": kind, **item} for item in items]

    def _path(self, wanted: Reference) -> str:
        kind = self._kind(wanted.api_version, wanted.kind)
        inside = f"/namespaces/{wanted.namespace or self.namespace}" if kind.namespaced else ""
        return f"{_root(wanted.api_version)}{inside}/{kind.plural}/{wanted.name}"

    def _kind(self, api_version: str, kind: str) -> Kind:
        with self._lock:
            if (api_version, kind) not in self._kinds:  # or not yet: a definition may have come since
                self._kinds.update(self._discovered(api_version))
        try:
            return self._kinds[api_version, kind]
        except KeyError:
            message = f"the cluster has no kind {kind} in {api_version}; install what defines it"
            raise UnknownKindError(kind, httpx.codes.NOT_FOUND, message) from None

    def _discovered(self, api_version: str) -> dict[tuple[str, str], Kind]:
        found = self._none_of_404("GET", _root(api_version), f"kinds of {api_version}") or {"resources": []}
        return {
            (api_version, entry["kind"]): Kind(entry["name"], entry["namespaced"])
            for entry in found["resources"]
            if "/" not in entry["name"]  # of a subresource
        }

    def _none_of_404(self, verb: str, path: str, subject: object, **request: Any) -> Object | None:
        try:
            return self._ask(verb, path, subject, **request)
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def _ask(self, verb: str, path: str, subject: object, **request: Any) -> Object:
        try:
            answer = self._http.request(verb, path, **request)
        except httpx.TransportError as error:
            raise ApiError(str(subject), 0, f"{self._http.base_url}: {error or type(error).__name__}") from error
        if answer.is_success:
            told: Object = answer.json()
            return told
        raise _refusal(str(subject), answer)


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _refusal(subject: str, answer: httpx.Response) -> ApiError:
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return ApiError(subject, answer.status_code, answer.text.strip()[:300] or answer.reason_phrase)
    said = answer.json()
    return ApiError(subject, answer.status_code, said.get("message", answer.reason_phrase), said.get("details"))
