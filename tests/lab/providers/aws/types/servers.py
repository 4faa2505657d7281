"""EC2: what servers are made by, how they reach S3, and what is written down of their traffic."""

from typing import Any, Final

from tests.lab.providers.aws.shapes import camel, to_api
from tests.lab.providers.aws.spec import Make, Op, Step, Tagging, Type, Work, arn, each, search
from tests.lab.providers.aws.types.network import described, ec2_tags

_DATA: Final = ("blockDeviceMappings", "instanceType", "metadataOptions", "tagSpecifications")


def _data(work: Work) -> dict[str, Any]:
    shape = work.cloud.shape("ec2", "create_launch_template").members["LaunchTemplateData"]
    data: dict[str, Any] = to_api(shape, {key: work.new[key] for key in _DATA if key in work.new}, {})
    return data


def _template(work: Work) -> Any:
    return Make(
        "create_launch_template",
        {"LaunchTemplateName": "$name", "LaunchTemplateData": _data(work)},
        "LaunchTemplate.LaunchTemplateId",
    )(work)


def _new_version(work: Work) -> None:
    """A template's versions are for ever; whoever starts a server without a number gets the default."""
    answer = work.call("create_launch_template_version", LaunchTemplateId=work.id, LaunchTemplateData=_data(work))
    if work.new.get("updateDefaultVersion"):
        number = str(answer["LaunchTemplateVersion"]["VersionNumber"])
        work.call("modify_launch_template", LaunchTemplateId=work.id, DefaultVersion=number)


def _latest(name: str) -> Step:
    def told(work: Work) -> Any:
        versions = work.call("describe_launch_template_versions", LaunchTemplateId=work.id, Versions=["$Latest"])
        return camel(search(f"LaunchTemplateVersions[0].LaunchTemplateData.{name}", versions))

    return told


class _Tags(Tagging):
    """What the emulator tells of a template are the tags that it was made with."""

    def there(self, work: Work) -> Any:
        return work.call("describe_tags", Filters=[{"Name": "resource-id", "Values": [work.id]}])["Tags"]


LAUNCH_TEMPLATE = Type(
    "aws:ec2/launchTemplate:LaunchTemplate",
    "ec2",
    create=_template,
    read=described("describe_launch_templates", "LaunchTemplateIds", "LaunchTemplates"),
    delete=Op("delete_launch_template", {"LaunchTemplateId": "$id"}),
    elsewhere=frozenset({"name", *_DATA}),
    changes=each(_new_version, _DATA),
    local=frozenset({"updateDefaultVersion"}),
    tells={
        "name": "LaunchTemplateName",
        "blockDeviceMappings": _latest("BlockDeviceMappings"),
        "metadataOptions": _latest("MetadataOptions"),
    },
    unread=frozenset({"tagSpecifications"}),
    tagging=_Tags(**vars(ec2_tags("launch-template"))),
    outputs={
        "arn": arn("ec2", "launch-template/$id"),
        "defaultVersion": "DefaultVersionNumber",
        "latestVersion": "LatestVersionNumber",
    },
    fresh=frozenset({"defaultVersion", "latestVersion"}),
    unique=("name",),
)


def _other_tables(work: Work) -> None:
    wanted, there = set(work.new["routeTableIds"]), set(work.old.get("routeTableIds") or [])
    changes = {"AddRouteTableIds": sorted(wanted - there), "RemoveRouteTableIds": sorted(there - wanted)}
    work.call("modify_vpc_endpoint", VpcEndpointId=work.id, **{key: ids for key, ids in changes.items() if ids})


VPC_ENDPOINT = Type(
    "aws:ec2/vpcEndpoint:VpcEndpoint",
    "ec2",
    create=Make("create_vpc_endpoint", result="VpcEndpoint.VpcEndpointId"),
    read=described("describe_vpc_endpoints", "VpcEndpointIds", "VpcEndpoints"),
    delete=Op("delete_vpc_endpoints", {"VpcEndpointIds": ["$id"]}),
    changes={"routeTableIds": _other_tables},
    tagging=ec2_tags("vpc-endpoint"),
    outputs={"arn": arn("ec2", "vpc-endpoint/$id"), "state": "State", "prefixListId": "PrefixListId"},
    ready=("State", frozenset({"available"})),
    gone=frozenset({"deleted"}),
)

FLOW_LOG = Type(
    "aws:ec2/flowLog:FlowLog",
    "ec2",
    create=Make("create_flow_logs", {"ResourceType": "VPC", "ResourceIds": ["$vpcId"]}, "FlowLogIds[0]"),
    read=described("describe_flow_logs", "FlowLogIds", "FlowLogs"),
    delete=Op("delete_flow_logs", {"FlowLogIds": ["$id"]}),
    names={"iamRoleArn": "DeliverLogsPermissionArn"},
    elsewhere=frozenset({"vpcId"}),
    tells={"vpcId": "ResourceId"},
    tagging=ec2_tags("vpc-flow-log"),
    outputs={"arn": arn("ec2", "vpc-flow-log/$id")},
)

TYPES: Final = (LAUNCH_TEMPLATE, VPC_ENDPOINT, FLOW_LOG)
