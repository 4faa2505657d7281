"""EKS: the control plane, and what it knows of nodes, add-ons and identities. There is no cluster behind it."""

from dataclasses import dataclass
from typing import Any, Final

from tests.lab.providers.aws import kept
from tests.lab.providers.aws.shapes import camel
from tests.lab.providers.aws.spec import Make, Op, Step, Tagging, Together, Type, Work, each, search

_POD_TAGS: Final = "tags-of-pod-identities"
_ACTIVE: Final = ("status", frozenset({"ACTIVE"}))


def _tagging(arn: str) -> Tagging:
    """EKS tags by ARN. What a read tells of an object are the tags that it was made with."""
    return Tagging(
        "tag_resource",
        "untag_resource",
        "resourceArn",
        of=lambda work: work.found[arn],
        tags="tags",
        keys="tagKeys",
        read="list_tags_for_resource",
    )


@dataclass(frozen=True)
class _KeptTags(Tagging):
    """Of what the emulator takes tags of at its creation alone: later ones are the stand-in's to keep."""

    def change(self, work: Work, there: Any) -> None:
        kept.put(_POD_TAGS, work.id, {"name": work.id, "tags": work.new.get("tagsAll") or {}})

    def there(self, work: Work) -> Any:
        return (kept.get(_POD_TAGS, work.id) or work.found).get("tags")


def unheard(work: Work) -> Any:
    """The emulator has no such operation: what is wanted stands in the stack's state alone."""
    return work.found


def _group_name(work: Work) -> str:
    return f"eks-cluster-sg-{work.new['name']}"


def _group(work: Work) -> str | None:
    """The security group that EKS gives to nodes and control plane."""
    filters = [{"Name": "group-name", "Values": [_group_name(work)]}]
    found = work.call("describe_security_groups", service="ec2", Filters=filters)
    return search("SecurityGroups[0].GroupId", found)


def _vpc(work: Work) -> Any:
    """The emulator of EKS knows nothing of the one that has the VPC."""
    subnets = work.call("describe_subnets", service="ec2", SubnetIds=work.new["vpcConfig"]["subnetIds"])
    return search("Subnets[0].VpcId", subnets)


def _cluster(work: Work) -> str:
    name = _group_name(work)
    work.call("create_security_group", service="ec2", GroupName=name, Description="EKS's own", VpcId=_vpc(work))
    logging = {"clusterLogging": [{"types": work.new["enabledClusterLogTypes"], "enabled": True}]}
    Make("create_cluster", {"logging": logging})(work)
    return str(work.new["name"])


def _no_cluster(work: Work) -> None:
    if group := _group(work):
        work.call("delete_security_group", service="ec2", GroupId=group)
    work.call("delete_cluster", name=work.id)


def _vpc_config(work: Work) -> Any:
    told = camel(work.found.get("resourcesVpcConfig") or {})
    return {**told, "clusterSecurityGroupId": _group(work), "vpcId": _vpc(work)}


CLUSTER = Type(
    "aws:eks/cluster:Cluster",
    "eks",
    create=_cluster,
    read=Op("describe_cluster", {"name": "$id"}, "cluster"),
    delete=_no_cluster,
    names={"vpcConfig": "resourcesVpcConfig"},
    elsewhere=frozenset({"enabledClusterLogTypes"}),
    unread=frozenset({"bootstrapSelfManagedAddons"}),
    tagging=_tagging("arn"),
    outputs={
        "arn": "arn",
        "endpoint": "endpoint",
        "status": "status",
        "platformVersion": "platformVersion",
        "certificateAuthority": "certificateAuthority.{data: data}",
        "vpcConfig": _vpc_config,
    },
    within={"vpcConfig": ("clusterSecurityGroupId", "vpcId")},
    ready=_ACTIVE,
    unique=("name",),
)


def _named(*words: str) -> Step:
    """Inputs that name a resource inside a cluster, one after the other with colons between."""

    def identity(work: Work) -> str:
        return ":".join(str(work.new[word]) for word in words)

    return identity


def _made(operation: str, identity: Step) -> Step:
    def make(work: Work) -> str:
        Make(operation)(work)
        return str(identity(work))

    return make


_OF_GROUP = {"clusterName": "$clusterName", "nodegroupName": "$nodeGroupName"}

NODE_GROUP = Type(
    "aws:eks/nodeGroup:NodeGroup",
    "eks",
    create=_made("create_nodegroup", _named("clusterName", "nodeGroupName")),
    read=Op("describe_nodegroup", _OF_GROUP, "nodegroup"),
    delete=Op("delete_nodegroup", _OF_GROUP),
    names={"nodeRoleArn": "nodeRole", "subnetIds": "subnets"},
    changes={"launchTemplate": unheard},
    tagging=_tagging("nodegroupArn"),
    outputs={"arn": "nodegroupArn", "status": "status"},
    ready=_ACTIVE,
    unique=("clusterName", "nodeGroupName"),
)

_OF_ADDON = {"clusterName": "$clusterName", "addonName": "$addonName"}

ADDON = Type(
    "aws:eks/addon:Addon",
    "eks",
    create=_made("create_addon", _named("clusterName", "addonName")),
    read=Op("describe_addon", _OF_ADDON, "addon"),
    delete=Op("delete_addon", _OF_ADDON),
    names={"resolveConflictsOnCreate": "resolveConflicts", "resolveConflictsOnUpdate": "resolveConflicts"},
    changes=each(
        Together(
            "update_addon",
            _OF_ADDON,
            ("addonVersion", "configurationValues", "resolveConflictsOnUpdate"),
        ),
        ("addonVersion", "configurationValues"),
    ),
    local=frozenset({"resolveConflictsOnUpdate"}),
    unread=frozenset({"resolveConflictsOnCreate"}),
    tagging=_tagging("addonArn"),
    outputs={"arn": "addonArn", "createdAt": "createdAt", "modifiedAt": "modifiedAt"},
    fresh=frozenset({"modifiedAt"}),
    ready=("status", frozenset({"ACTIVE", "DEGRADED"})),
    unique=("clusterName", "addonName"),
)

_OF_ENTRY = {"clusterName": "$clusterName", "principalArn": "$principalArn"}

_HYBRID, _LIKE_HYBRID = "HYBRID_LINUX", "EC2_LINUX"


def _entry(work: Work) -> str:
    """The emulator is older than hybrid nodes; other nodes' entries are the nearest that it knows."""
    kind = work.new.get("type")
    Make("create_access_entry", {"type": _LIKE_HYBRID if kind == _HYBRID else kind})(work)
    return f"{work.new['clusterName']}:{work.new['principalArn']}"


def _entry_type(work: Work) -> str:
    told = str(work.found["type"])
    return _HYBRID if told == _LIKE_HYBRID and work.new.get("type") == _HYBRID else told


ACCESS_ENTRY = Type(
    "aws:eks/accessEntry:AccessEntry",
    "eks",
    create=_entry,
    read=Op("describe_access_entry", _OF_ENTRY, "accessEntry"),
    delete=Op("delete_access_entry", _OF_ENTRY),
    elsewhere=frozenset({"type"}),
    tells={"type": _entry_type},
    tagging=_tagging("accessEntryArn"),
    outputs={"accessEntryArn": "accessEntryArn"},
    unique=("clusterName", "principalArn"),
)

_OF_POD = {"clusterName": "$clusterName", "associationId": "$id"}


def _no_identity(work: Work) -> None:
    Op("delete_pod_identity_association", _OF_POD)(work)
    kept.drop(_POD_TAGS, work.id)


POD_IDENTITY = Type(
    "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    "eks",
    create=Make("create_pod_identity_association", result="association.associationId"),
    read=Op("describe_pod_identity_association", _OF_POD, "association"),
    delete=_no_identity,
    changes={"roleArn": Op("update_pod_identity_association", {**_OF_POD, "roleArn": "$roleArn"})},
    tagging=_KeptTags("", "", ""),
    outputs={"associationArn": "associationArn", "associationId": "associationId"},
    unique=("clusterName", "namespace", "serviceAccount"),
)

TYPES: Final = (CLUSTER, NODE_GROUP, ADDON, ACCESS_ENTRY, POD_IDENTITY)
