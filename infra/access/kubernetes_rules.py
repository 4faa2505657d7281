"""Roles inside the cluster: what a service account may do, in one namespace or, to read, in all."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from infra.manifests import labels
from infra.scope import Scope
from workloads.spec.errors import UserError

_READING = ("get", "list", "watch")
_GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Rule:
    """What may be done: `verbs` on `resources` of API `groups` ("" is the core), of `names` alone where there are any.

    Raises:
        UserError: something is a wildcard, or a verb gives more rights than it names.
    """

    groups: Sequence[str]
    resources: Sequence[str]
    verbs: Sequence[str] = _READING
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        wild = sorted(word for word in (*self.groups, *self.resources, *self.verbs) if "*" in word)
        # https://kubernetes.io/docs/concepts/security/rbac-good-practices/#privilege-escalation-risks
        rising = sorted({"bind", "escalate", "impersonate"} & set(self.verbs))
        if wild or rising:
            raise UserError(f"rule on {', '.join(self.resources)} has {wild or rising}; name what is really needed")


def kubernetes_role(
    scope: Scope, name: str, namespace: str, service_account: str, rules: Sequence[Rule], *after: pulumi.Resource
) -> kubernetes.rbac.v1.RoleBinding:
    """Let a service account do what the rules say, in its own namespace, which `after` has if the stack makes it."""
    role = kubernetes.rbac.v1.Role(
        name,
        metadata=_metadata(name, namespace),
        rules=[_policy_rule(rule) for rule in rules],
        opts=scope.child(*after),
    )
    return kubernetes.rbac.v1.RoleBinding(
        name,
        metadata=_metadata(name, namespace),
        role_ref=kubernetes.rbac.v1.RoleRefArgs(api_group=_GROUP, kind="Role", name=name),
        subjects=[_subject(namespace, service_account)],
        opts=scope.child(role),  # a binding may come before its role, but lets nobody do anything until then
    )


def kubernetes_reader(
    scope: Scope, name: str, namespace: str, service_account: str, rules: Sequence[Rule], *after: pulumi.Resource
) -> kubernetes.rbac.v1.RoleBinding:
    """Let a service account read in its own namespace. Raises `UserError` for rules that change anything."""
    return kubernetes_role(scope, name, namespace, service_account, _reading(name, rules), *after)


def kubernetes_cluster_reader(
    scope: Scope, name: str, namespace: str, service_account: str, rules: Sequence[Rule]
) -> kubernetes.rbac.v1.ClusterRoleBinding:
    """Let a service account read in every namespace. Raises `UserError` for rules that change anything or read secrets."""
    if any("secrets" in rule.resources for rule in rules):
        raise UserError(f"cluster role {name} reads every secret; grant it in one namespace, by name")
    role = kubernetes.rbac.v1.ClusterRole(
        name,
        metadata=_metadata(name),
        rules=[_policy_rule(rule) for rule in _reading(name, rules)],
        opts=scope.child(),
    )
    return kubernetes.rbac.v1.ClusterRoleBinding(
        name,
        metadata=_metadata(name),
        role_ref=kubernetes.rbac.v1.RoleRefArgs(api_group=_GROUP, kind="ClusterRole", name=name),
        subjects=[_subject(namespace, service_account)],
        opts=scope.child(role),
    )


def _reading(name: str, rules: Sequence[Rule]) -> Sequence[Rule]:
    changing = sorted({verb for rule in rules for verb in rule.verbs} - set(_READING))
    if changing:
        raise UserError(f"role {name} only reads and has verbs {changing}; use {', '.join(_READING)} alone")
    return rules


def _metadata(name: str, namespace: str | None = None) -> kubernetes.meta.v1.ObjectMetaArgs:
    return kubernetes.meta.v1.ObjectMetaArgs(name=name, namespace=namespace, labels=labels(name))


def _subject(namespace: str, service_account: str) -> kubernetes.rbac.v1.SubjectArgs:
    return kubernetes.rbac.v1.SubjectArgs(kind="ServiceAccount", name=service_account, namespace=namespace)


def _policy_rule(rule: Rule) -> kubernetes.rbac.v1.PolicyRuleArgs:
    return kubernetes.rbac.v1.PolicyRuleArgs(
        api_groups=list(rule.groups),
        resources=list(rule.resources),
        verbs=list(rule.verbs),
        resource_names=list(rule.names) or None,
    )
