"""EC2: what security groups let in."""

from typing import Final

from tests.lab.providers.aws.spec import Op, Type, Work, arn, each, search
from tests.lab.providers.aws.types.network import described, ec2_tags
from workloads.spec.errors import UserError

_WAYS: Final = ("ingress", "egress")


def _default_group(work: Work) -> str:
    filters = [{"Name": "vpc-id", "Values": ["$vpcId"]}, {"Name": "group-name", "Values": ["default"]}]
    return str(Op("describe_security_groups", {"Filters": filters}, "SecurityGroups[0].GroupId")(work))


def _emptied(work: Work) -> None:
    """Every VPC comes with a group that lets its members in and everything out."""
    if given := [way for way in _WAYS if work.new.get(way)]:
        raise UserError(f"{given[0]} of a default security group must be empty; give rules to a group of their own")
    listed = Op("describe_security_group_rules", {"Filters": [{"Name": "group-id", "Values": ["$id"]}]})(work)
    for way in _WAYS:
        path = f"SecurityGroupRules[?IsEgress==`{str(way == 'egress').lower()}`].SecurityGroupRuleId"
        if rules := search(path, listed):
            work.call(f"revoke_security_group_{way}", GroupId=work.id, SecurityGroupRuleIds=rules)


DEFAULT_GROUP = Type(
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    "ec2",
    create=_default_group,
    read=described("describe_security_groups", "GroupIds", "SecurityGroups"),
    delete=lambda work: work.id,  # it goes with its VPC
    later=each(_emptied, _WAYS),
    tells={"ingress": "IpPermissions", "egress": "IpPermissionsEgress"},
    tagging=ec2_tags("security-group"),
    outputs={"arn": arn("ec2", "security-group/$id"), "name": "GroupName", "ownerId": "OwnerId"},
    stays=True,
)

_RULE = {
    "IpProtocol": "$ipProtocol",
    "FromPort": "$fromPort",
    "ToPort": "$toPort",
}


def _admitted(work: Work) -> str:
    operation = "authorize_security_group_ingress"
    ranges = work.fill([{"CidrIp": "$cidrIpv4", "Description": "$description"}])
    answer = work.call(
        operation,
        GroupId=work.new["securityGroupId"],
        IpPermissions=[{**work.fill(_RULE), "IpRanges": ranges}],
        **ec2_tags("security-group-rule").at_birth(work, operation),
    )
    return str(search("SecurityGroupRules[0].SecurityGroupRuleId", answer))


INGRESS_RULE = Type(
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    "ec2",
    create=_admitted,
    read=described("describe_security_group_rules", "SecurityGroupRuleIds", "SecurityGroupRules"),
    delete=Op("revoke_security_group_ingress", {"GroupId": "$securityGroupId", "SecurityGroupRuleIds": ["$id"]}),
    names={"securityGroupId": "GroupId"},
    changes=each(
        Op(
            "modify_security_group_rules",
            {
                "GroupId": "$securityGroupId",
                "SecurityGroupRules": [
                    {
                        "SecurityGroupRuleId": "$id",
                        "SecurityGroupRule": {**_RULE, "CidrIpv4": "$cidrIpv4", "Description": "$description"},
                    }
                ],
            },
        ),
        ("ipProtocol", "fromPort", "toPort", "cidrIpv4", "description"),
    ),
    tagging=ec2_tags("security-group-rule"),
    outputs={"arn": arn("ec2", "security-group-rule/$id"), "securityGroupRuleId": "SecurityGroupRuleId"},
)

TYPES: Final = (DEFAULT_GROUP, INGRESS_RULE)
