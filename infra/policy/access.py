"""Rules on who may do what, and on knowing whose a resource is."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from infra.policy.rule import Config, Resource, Rule, Unknown, items, known, mapping
from infra.policy.storage import statements

WITHOUT_RESOURCE: Final = re.compile(
    r"(autoscaling|ec2|ssm):Describe\w+|cloudwatch:PutMetricData|ecr:GetAuthorizationToken|iam:ListInstanceProfiles"
    r"|pricing:GetProducts|logs:DescribeLogGroups|eks:ListClusters|sts:GetCallerIdentity"
)
"""Actions without a resource level, from AWS's Service Authorization Reference: their resource can be nothing but `*`."""

_DOCUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "aws:ecr/registryPolicy:RegistryPolicy": ("policy",),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": ("policy",),
    "aws:iam/groupPolicy:GroupPolicy": ("policy",),
    "aws:iam/policy:Policy": ("policy",),
    "aws:iam/role:Role": ("assumeRolePolicy",),
    "aws:iam/rolePolicy:RolePolicy": ("policy",),
    "aws:iam/userPolicy:UserPolicy": ("policy",),
    "aws:kms/key:Key": ("policy",),
    "aws:kms/replicaKey:ReplicaKey": ("policy",),
    "aws:s3/bucketPolicy:BucketPolicy": ("policy",),
    "aws:secretsmanager/secretPolicy:SecretPolicy": ("policy",),
    "aws:vpc/endpointPolicy:EndpointPolicy": ("policy",),
}
_MANAGED: Final = re.compile(r"(AdministratorAccess|PowerUserAccess|\w*FullAccess\w*|IAMFullAccess)$")


def iam_wildcards(resource: Resource, _: Config) -> list[str]:
    """What a role may do is written out."""
    policy = str(resource.props.get("policyArn", "")).rpartition("/")[2]
    if resource.type == "aws:iam/rolePolicyAttachment:RolePolicyAttachment" and _MANAGED.match(policy):
        return [f"{resource.name} attaches {policy}, limit what is needed; write a policy of named actions"]
    found = []
    for key in _DOCUMENTS.get(resource.type, ()):
        for statement in statements(resource.props.get(key)):
            if statement.get("Effect") == "Allow":
                found += _reaching(resource, statement)
    return found


def _reaching(resource: Resource, statement: Mapping[str, Any]) -> list[str]:
    actions, targets = _listed(statement.get("Action")), _listed(statement.get("Resource"))
    # A key's own policy means the key by `*`, and its account must keep `kms:*` or the key cannot be managed again:
    # https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    of_key = resource.type.startswith("aws:kms/")
    owner = of_key and _is_the_account(statement.get("Principal"))
    wild = [action for action in actions if "*" in action and not (owner and action == "kms:*")]
    found = [f"{resource.name} allows {action}, limit named actions; list them" for action in wild]
    if "NotAction" in statement or "NotResource" in statement:
        found.append(f"{resource.name} allows by exception (NotAction, NotResource); list what is allowed")
    needing = [action for action in actions if not WITHOUT_RESOURCE.fullmatch(action)]
    if not of_key and needing and any(_everything(target) for target in targets):
        found.append(f"{resource.name} allows {', '.join(needing)} on every resource; name the ARNs")
    return found


def _everything(target: str) -> bool:
    """`*`, or an ARN whose last part is nothing else: `arn:aws:s3:::*`."""
    return target.split(":", 5)[-1] == "*"


def _is_the_account(principal: Any) -> bool:
    names = _listed(mapping(principal).get("AWS"))
    return bool(names) and all(name.endswith(":root") or name.isdigit() for name in names)


def _listed(value: Any) -> list[str]:
    return [str(entry) for entry in (value if isinstance(value, list) else [value]) if entry is not None]


def rbac_wildcards(resource: Resource, _: Config) -> list[str]:
    """What a service account may do is written out, and is never everything."""
    kind = resource.type.rpartition(":")[2]
    if not resource.type.startswith("kubernetes:rbac.authorization.k8s.io/"):
        return []
    if kind in {"RoleBinding", "ClusterRoleBinding"} and mapping(resource.props.get("roleRef")).get("name") in {
        "cluster-admin",
        "admin",
    }:
        return [f"{resource.name} binds {resource.props['roleRef']['name']}; bind a role of named resources and verbs"]
    return [
        f"{resource.name} allows {key} *, limit names; list them"
        for rule in items(resource.props.get("rules"))
        for key in ("apiGroups", "resources", "verbs")
        if "*" in items(mapping(rule).get(key))
    ]


TAGS: Final = ("project", "stack", "owner", "cost-center", "managed-by")


def required_tags(resource: Resource, config: Config) -> list[str]:
    """Cost, owner and clean-up go by tags."""
    if not takes_tags(resource.type):
        return []
    tags = resource.props.get("tags")
    if isinstance(tags, Unknown):
        return []
    # OpenStack's are plain words, `key=value`; servers, volumes and secrets have pairs instead, by another name
    has = dict(tags) if isinstance(tags, Mapping) else dict(str(word).partition("=")[::2] for word in items(tags))
    if resource.type.startswith("openstack:"):
        has.update(mapping(resource.props.get("metadata")))
    missing = [tag for tag in TAGS if tag not in has]
    found = [f"{resource.name} lacks the tags {', '.join(missing)}; give it scope.naming.tags()"] if missing else []
    return found + [
        f"{resource.name} has tag {tag}={has[tag]}, limit {wanted}; give it scope.naming.tags()"
        for tag, wanted in mapping(config.get("values")).items()
        if tag in has and known(has[tag]) and has[tag] != wanted
    ]


def launched_tags(resource: Resource, _: Config) -> list[str]:
    """Machines that a template starts, and their volumes, are what costs."""
    if resource.type != "aws:ec2/launchTemplate:LaunchTemplate":
        return []
    given = resource.props.get("tagSpecifications")
    kinds = {mapping(entry).get("resourceType"): mapping(mapping(entry).get("tags")) for entry in items(given)}
    return [
        f"{resource.name} starts {kind}s without the tags {', '.join(missing)}; add them to tag_specifications"
        for kind in ("instance", "volume")
        if not isinstance(given, Unknown) and (missing := [tag for tag in TAGS if tag not in kinds.get(kind, {})])
    ]


@cache
def takes_tags(token: str) -> bool:
    """Whether the SDK gives a type of AWS or OpenStack an input for tags: read from its sources, importing them is slow."""
    package, _, rest = token.partition(":")
    folder, _, _ = rest.partition("/")
    if package not in {"aws", "openstack"} or token.startswith("pulumi:"):
        return False
    spec = find_spec(f"pulumi_{package}")
    if spec is None or not spec.submodule_search_locations:
        return False
    kind = token.rpartition(":")[2]
    module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    path = Path(spec.submodule_search_locations[0], folder, f"{module}.py")
    if not path.is_file():
        return False
    arguments = path.read_text(encoding="utf-8").partition(f"class {kind}Args")[2].partition("\nclass ")[0]
    return re.search(r"def tags\(self" if package == "aws" else r"def (tags|metadata)\(self", arguments) is not None


RULES: Final = (
    Rule("iam-wildcards", "No policy of AWS allows by a pattern of actions or on every resource.", iam_wildcards),
    Rule(
        "rbac-wildcards", "No role of Kubernetes has wildcards, and nothing is bound to cluster-admin.", rbac_wildcards
    ),
    Rule(
        "required-tags",
        "What can be tagged carries project, stack, owner, cost-center and managed-by.",
        required_tags,
        {"values": {"type": "object", "default": {}}},
    ),
    Rule("launched-tags", "So do the machines and volumes that a launch template starts.", launched_tags),
)
