"""Every principal that a program declares, and what it may do: plain text for a person to review. Pure."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

Listing = dict[str, dict[str, list[str]]]
"""By kind of principal, by its name: what it is trusted by and what it may do, in order."""


class Resource(Protocol):
    """A resource as it was declared: inputs under the names of the engine, secrets opened."""

    @property
    def type(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Any]: ...


Line = tuple[str, str, str]
"""Kind of principal, its name, what is said of it."""


def principals(resources: Iterable[Resource]) -> Listing:
    """Roles of AWS, identities of pods, service accounts, who enters the cluster, keys' guests, OpenStack's credentials."""
    declared = sorted(resources, key=lambda resource: (resource.type, resource.name))
    roles = _role_names(declared)
    listing: Listing = {}
    for resource in declared:
        tell = _rbac if resource.type.startswith(_RBAC) else _TELLERS.get(resource.type, _nothing)
        for kind, name, line in tell(resource, roles):
            listing.setdefault(kind, {}).setdefault(name, []).append(line)
    return {kind: dict(sorted(named.items())) for kind, named in sorted(listing.items())}


def _nothing(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    del resource, roles
    return []


def _role(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    statements = _statements(resource.inputs["assumeRolePolicy"])
    return [("role", roles[resource.name], _trust(statement)) for statement in statements]


def _role_policy(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    role = resource.inputs["role"]
    statements = _statements(resource.inputs["policy"])
    return [("role", roles.get(role, role), f"may {_allowance(statement)}") for statement in statements]


def _managed_policy(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    role, policy = resource.inputs["role"], resource.inputs["policyArn"].partition(":policy/")[2]
    return [("role", roles.get(role, role), f"may what AWS's {policy} says")]


def _pod(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    inputs = resource.inputs
    pod = f"{inputs['namespace']}/{inputs['serviceAccount']}"
    return [("pod", pod, f"has role {_role_of(inputs['roleArn'], roles)}")]


def _entry(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    inputs = resource.inputs
    groups = ", ".join(inputs.get("kubernetesGroups") or ()) or "no group"
    line = f"enters as {inputs.get('type', 'STANDARD')} with {groups}"
    return [("cluster", _role_of(inputs["principalArn"], roles), line)]


def _entry_policy(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    inputs, scope = resource.inputs, resource.inputs["accessScope"]
    where = ", ".join(scope.get("namespaces") or ()) or scope["type"]
    line = f"may what {inputs['policyArn'].rpartition('/')[2]} says in {where}"
    return [("cluster", _role_of(inputs["principalArn"], roles), line)]


def _key(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    del roles
    statements = _statements(resource.inputs["policy"])
    return [("key", resource.name, f"{_whom(statement)} may {_allowance(statement)}") for statement in statements]


def _s3_keys(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    del roles
    return [("openstack", resource.name, "reaches the project's object store as the stack's user")]


def _application_credential(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    del roles
    inputs = resource.inputs
    may = ", ".join(sorted(inputs.get("roles") or ())) or "every role of the stack's user"
    rules = [f"{rule['method']} {rule['path']} of {rule['service']}" for rule in inputs.get("accessRules") or ()]
    bound = f", and of that {', '.join(rules)} alone" if rules else ""
    return [("openstack", resource.name, f"may what {may} says{bound}")]


_RBAC = "kubernetes:rbac.authorization.k8s.io/"
_TELLERS: Mapping[str, Callable[[Resource, Mapping[str, str]], list[Line]]] = {
    "aws:eks/accessEntry:AccessEntry": _entry,
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": _entry_policy,
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": _pod,
    "aws:iam/role:Role": _role,
    "aws:iam/rolePolicy:RolePolicy": _role_policy,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": _managed_policy,
    "aws:kms/key:Key": _key,
    "aws:kms/replicaKey:ReplicaKey": _key,
    "openstack:identity/applicationCredential:ApplicationCredential": _application_credential,
    "openstack:identity/ec2CredentialV3:Ec2CredentialV3": _s3_keys,
}


def _rbac(resource: Resource, roles: Mapping[str, str]) -> list[Line]:
    """A binding names who has a role, and a role what it is; a reader puts both together by the role's name."""
    del roles
    inputs, kind = resource.inputs, resource.type.rpartition(":")[2]
    metadata = inputs["metadata"]
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    if kind in {"Role", "ClusterRole"}:
        return [(f"kubernetes {kind}", f"{place}{metadata['name']}", _rule(rule)) for rule in inputs["rules"]]
    reference = inputs["roleRef"]
    return [
        (
            "service account",
            "/".join(filter(None, (subject.get("namespace"), subject["name"]))),
            f"has {reference['kind']} {reference['name']}{f' in {place[:-1]}' if place else ''}",
        )
        for subject in inputs["subjects"]
    ]


def _rule(rule: Mapping[str, Any]) -> str:
    groups = ", ".join(group or "core" for group in rule["apiGroups"])
    names = f" named {', '.join(rule['resourceNames'])}" if rule.get("resourceNames") else ""
    return f"may {', '.join(rule['verbs'])} {', '.join(rule['resources'])} of {groups}{names}"


def _trust(statement: Mapping[str, Any]) -> str:
    does = ", ".join(sorted(action.removeprefix("sts:") for action in _list(statement["Action"])))
    return f"taken by {_whom(statement)} ({does}){_conditions(statement)}"


def _allowance(statement: Mapping[str, Any]) -> str:
    actions, resources = ", ".join(_list(statement["Action"])), ", ".join(_list(statement["Resource"]))
    denied = "" if statement["Effect"] == "Allow" else "not "
    return f"{denied}{actions} on {resources}{_conditions(statement)}"


def _whom(statement: Mapping[str, Any]) -> str:
    principal = statement["Principal"]
    return "everyone" if principal == "*" else ", ".join(who for kind in principal for who in _list(principal[kind]))


def _conditions(statement: Mapping[str, Any]) -> str:
    found = [
        f"{key} {operator} {' or '.join(map(str, _list(value)))}"
        for operator, keys in sorted(statement.get("Condition", {}).items())
        for key, value in sorted(keys.items())
    ]
    return f" if {' and '.join(found)}" if found else ""


def _statements(policy: str) -> list[dict[str, Any]]:
    return list(json.loads(policy)["Statement"])


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _role_names(resources: Iterable[Resource]) -> dict[str, str]:
    """The name in the stack of each role, by that and by its name in the account."""
    roles = [resource for resource in resources if resource.type == "aws:iam/role:Role"]
    return {key: role.name for role in roles for key in (role.name, role.inputs.get("name", role.name))}


def _role_of(arn: str, roles: Mapping[str, str]) -> str:
    name = arn.rpartition("/")[2]
    return roles.get(name, arn)
