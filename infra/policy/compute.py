"""Rules on machines: their metadata service, their interconnect, and what must outlive a mistake."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.policy.rule import (
    Config,
    Finding,
    Resource,
    Rule,
    StackRule,
    Unknown,
    belonging,
    items,
    mapping,
    maybe,
    of_type,
)
from infra.policy.stateful import PRECIOUS

_MACHINES: Final = frozenset({"aws:ec2/launchTemplate:LaunchTemplate", "aws:ec2/instance:Instance"})
_GROUP: Final = "aws:ec2/securityGroup:SecurityGroup"
_EVERY_PROTOCOL: Final = frozenset({"-1", "all"})


def imdsv2(resource: Resource, _: Config) -> list[str]:
    """A request that was forged by way of a server cannot fetch the machine's credentials."""
    if resource.type not in _MACHINES:
        return []
    options = resource.props.get("metadataOptions")
    tokens = mapping(options).get("httpTokens", "optional")
    if isinstance(options, Unknown) or maybe(tokens, wanted="required"):
        return []
    return [f"{resource.name}: metadata tokens are {tokens}, limit required; set metadata_options.http_tokens"]


def efa(resources: Sequence[Resource], _: Config) -> list[Finding]:
    """EFA without its placement group or its security rules falls back to TCP, and nothing says so."""
    findings = []
    for template in of_type(resources, "aws:ec2/launchTemplate:LaunchTemplate"):
        interfaces = [mapping(entry) for entry in items(template.props.get("networkInterfaces"))]
        if not any(str(interface.get("interfaceType")).startswith("efa") for interface in interfaces):
            continue
        lacking = []
        if not mapping(template.props.get("placement")).get("groupName"):
            lacking.append("a placement group (placement.group_name, strategy cluster)")
        lacking += [
            f"a rule for all traffic {way} its own security group ({why})"
            for way, why in (("from", "ingress"), ("to", "egress"))
            if not _open_to_itself(resources, template, why)
        ]
        if lacking:
            findings.append(Finding(f"{template.name} has EFA and lacks {', '.join(lacking)}; add them", template.urn))
    loose = [
        group
        for group in of_type(resources, "aws:ec2/placementGroup:PlacementGroup")
        if not maybe(group.props.get("strategy"), wanted="cluster") and _serves_efa(resources, group)
    ]
    return findings + [
        Finding(
            f"placement group {group.name} is {group.props.get('strategy')}, limit cluster; set strategy", group.urn
        )
        for group in loose
    ]


def _serves_efa(resources: Sequence[Resource], group: Resource) -> bool:
    return any(
        group.urn in template.needs.get("placement", ()) and "efa" in str(template.props.get("networkInterfaces"))
        for template in of_type(resources, "aws:ec2/launchTemplate:LaunchTemplate")
    )


def _open_to_itself(resources: Sequence[Resource], template: Resource, way: str) -> bool:
    urns = {urn for key in ("networkInterfaces", "vpcSecurityGroupIds") for urn in template.needs.get(key, ())}
    given = {
        identity
        for interface in items(template.props.get("networkInterfaces"))
        for identity in items(mapping(interface).get("securityGroups"))
    }
    groups = [group for group in of_type(resources, _GROUP) if group.urn in urns or group.props.get("id") in given]
    return any(_rule_inside(group, way) or _rule_beside(resources, group, way) for group in groups)


def _rule_inside(group: Resource, way: str) -> bool:
    return any(
        str(mapping(rule).get("protocol")) in _EVERY_PROTOCOL and mapping(rule).get("self") is True
        for rule in items(group.props.get(way))
    )


def _rule_beside(resources: Sequence[Resource], group: Resource, way: str) -> bool:
    kind = f"aws:vpc/securityGroup{way.title()}Rule:SecurityGroup{way.title()}Rule"
    modern = [
        rule
        for rule in belonging(resources, group, "securityGroupId", kind)
        if rule in belonging(resources, group, "referencedSecurityGroupId", kind)
        and str(rule.props.get("ipProtocol")) in _EVERY_PROTOCOL
    ]
    classic = [
        rule
        for rule in belonging(resources, group, "securityGroupId", "aws:ec2/securityGroupRule:SecurityGroupRule")
        if rule.props.get("type") == way
        and str(rule.props.get("protocol")) in _EVERY_PROTOCOL
        and (
            rule.props.get("self") is True
            or rule
            in belonging(resources, group, "sourceSecurityGroupId", "aws:ec2/securityGroupRule:SecurityGroupRule")
        )
    ]
    return bool(modern or classic)


def protected(resource: Resource, config: Config) -> list[str]:
    """What cannot be made again is not deleted by mistake."""
    if not config["protect"] or resource.protect or resource.type not in PRECIOUS or _erasable(resource.props):
        return []
    lost = PRECIOUS[resource.type]
    return [f"{resource.name} is {lost} and is not protected, as this stack wants it; make it with scope.keeper()"]


def _erasable(props: Mapping[str, Any]) -> bool:
    return props.get("forceDestroy") is True or props.get("forceDelete") is True


RULES: Final = (
    Rule("imdsv2", "Machines answer for metadata by tokens alone (IMDSv2).", imdsv2),
    StackRule("efa", "Where there is EFA, there is its placement group and its security group is open to itself.", efa),
    Rule(
        "protected",
        "In stacks that say so, what cannot be made again is protected.",
        protected,
        {"protect": {"type": "boolean", "default": True}},
    ),
)
