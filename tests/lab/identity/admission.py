"""What EKS's webhook adds to pods, as a policy that the API server evaluates by itself. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from tests.lab.identity.agent import ADDRESS, AUDIENCE, PATH

Manifest = dict[str, Any]

NAME: Final = "lab-pod-identity"
_VOLUME: Final = "eks-pod-identity-token"
_MOUNT: Final = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
_FILE: Final = "eks-pod-identity-token"
_LIFE_S: Final = 86400
_VARIABLES: Final = {
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{ADDRESS}{PATH}",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{_MOUNT}/{_FILE}",
}
_API: Final = "admissionregistration.k8s.io/v1beta1"


def manifests(namespaces: Sequence[str]) -> list[Manifest]:
    """The policy on new pods of `namespaces`, and what puts it into force.

    EKS asks which service accounts have a role and leaves other pods alone. A policy cannot ask, so all get the address,
    and those without a role are told so when they use it.
    """
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    spec: Manifest = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "resourceRules": [rule],
            "namespaceSelector": {
                "matchExpressions": [
                    {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
                ]
            },
        },
        # the API server falls over a patch that adds a whole list (1.34.4), and what asks for no volume asks for no store
        "matchConditions": [{"name": "has-volumes", "expression": "has(object.spec.volumes)"}],
        "mutations": [
            # a list that the API server takes as one value cannot be merged, only added to
            {"patchType": "JSONPatch", "jsonPatch": {"expression": _volume()}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": _containers()}},
        ],
    }
    policy = {"apiVersion": _API, "kind": "MutatingAdmissionPolicy", "metadata": {"name": NAME}, "spec": spec}
    binding = {
        "apiVersion": _API,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {"policyName": NAME},
    }
    return [policy, binding]


def _volume() -> str:
    kind = "Object.spec.volumes"
    token = (
        f"{kind}.projected.sources.serviceAccountToken"
        f'{{audience: "{AUDIENCE}", expirationSeconds: {_LIFE_S}, path: "{_FILE}"}}'
    )
    sources = f"[{kind}.projected.sources{{serviceAccountToken: {token}}}]"
    volume = f'{kind}{{name: "{_VOLUME}", projected: {kind}.projected{{sources: {sources}}}}}'

    return f'[JSONPatch{{op: "add", path: "/spec/volumes/-", value: {volume}}}]'


def _containers() -> str:
    fields = [_with_variables("containers")]
    plain = f"Object{{spec: Object.spec{{{fields[0]}}}}}"
    both = f"Object{{spec: Object.spec{{{fields[0]}, {_with_variables('initContainers')}}}}}"
    return f"has(object.spec.initContainers) ? {both} : {plain}"


def _with_variables(field: str) -> str:
    kind = f"Object.spec.{field}"
    variables = ", ".join(f'{kind}.env{{name: "{name}", value: "{value}"}}' for name, value in _VARIABLES.items())
    mount = f'{kind}.volumeMounts{{name: "{_VOLUME}", mountPath: "{_MOUNT}", readOnly: true}}'
    return f"{field}: object.spec.{field}.map(c, {kind}{{name: c.name, env: [{variables}], volumeMounts: [{mount}]}})"
