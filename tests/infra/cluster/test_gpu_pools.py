"""Pools of GPUs on AWS: capacity of every kind, EFA where there is any, and what the queues are told."""

import re
import shutil
import subprocess
from base64 import b64decode
from email import message_from_bytes

import pytest

from infra.cluster import huge_pages
from workloads.spec.errors import UserError

GROUP = "aws:eks/nodeGroup:NodeGroup"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
POOLS = "sites.0.aws.gpu_pools"
NODES = {"min": 0, "desired": 1, "max": 2}


def pool(**changes):
    return {POOLS: [{"name": "big", "instance_type": "p5.48xlarge", "nodes": NODES} | changes]}


def test_a_site_without_pools_declares_nothing(pools):
    program = pools(**{POOLS: []})
    assert program.result == ()
    assert not program.of_type(GROUP)


def test_nodes_have_the_taint_the_labels_and_nvidias_image(pools):
    group = pools().one(GROUP)
    assert group.inputs["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert group.inputs["labels"] == {"isthmus.dev/site": "aws-1", "isthmus.dev/pool": "l4"}
    assert group.inputs["amiType"] == "AL2023_x86_64_NVIDIA"
    assert group.inputs["instanceTypes"] == ["g6.xlarge"]


def test_the_size_is_whoevers_scales_the_pool_once_it_is_there(pools):
    assert pools().one(GROUP).ignore_changes == ("scalingConfig.desiredSize",)


@pytest.mark.parametrize(
    ("capacity", "reservation", "kind"),
    [
        ("on-demand", None, "ON_DEMAND"),
        ("spot", None, "SPOT"),
        ("reservation", "cr-0123456789abcdef0", "ON_DEMAND"),
        ("capacity-block", "cr-0123456789abcdef0", "CAPACITY_BLOCK"),
    ],
)
def test_capacity_is_of_the_kind_that_the_stack_names(pools, capacity, reservation, kind):
    given = {"reservation": reservation} if reservation else {}
    program = pools(**pool(capacity=capacity, **given))
    template = program.one(TEMPLATE).inputs
    assert program.one(GROUP).inputs["capacityType"] == kind
    target = template.get("capacityReservationSpecification", {}).get("capacityReservationTarget", {})
    assert target.get("capacityReservationId") == reservation


def test_a_capacity_block_has_its_type_and_market_in_the_template_and_one_zone(pools):
    program = pools(**pool(capacity="capacity-block", reservation="cr-0123456789abcdef0", zone=1))
    template, group = program.one(TEMPLATE).inputs, program.one(GROUP).inputs
    assert template["instanceType"] == "p5.48xlarge"
    assert template["instanceMarketOptions"] == {"marketType": "capacity-block"}
    assert "instanceTypes" not in group
    assert group["subnetIds"] == ["subnet-private-1"]


def test_other_pools_have_their_type_in_the_group_and_not_in_the_template(pools):
    program = pools(**pool())
    assert "instanceType" not in program.one(TEMPLATE).inputs
    assert program.one(GROUP).inputs["instanceTypes"] == ["p5.48xlarge"]


def test_where_no_node_is_left_over_the_old_one_goes_first(pools):
    reserved = pools(**pool(capacity="reservation", reservation="cr-0123456789abcdef0")).one(GROUP).inputs
    assert reserved["updateConfig"]["updateStrategy"] == "MINIMAL"
    assert pools(**pool()).one(GROUP).inputs["updateConfig"]["updateStrategy"] == "DEFAULT"


def test_nodes_near_each_other_are_of_one_zone_and_others_of_all(pools):
    near = pools(**pool(placement_group=True, zone=1))
    assert near.one(GROUP).inputs["subnetIds"] == ["subnet-private-1"]
    placement = near.one("aws:ec2/placementGroup:PlacementGroup").inputs
    assert placement["strategy"] == "cluster"
    assert near.one(TEMPLATE).inputs["placement"] == {"groupName": placement["name"]}
    assert pools(**pool()).one(GROUP).inputs["subnetIds"] == ["subnet-private-0", "subnet-private-1"]


@pytest.mark.parametrize(
    ("instance_type", "count"), [("p5.48xlarge", 32), ("p5en.48xlarge", 16), ("p6-b200.48xlarge", 8)]
)
def test_each_network_card_has_its_efa_and_one_interface_has_addresses(pools, instance_type, count):
    program = pools(**pool(instance_type=instance_type, efa=True, placement_group=True))
    interfaces = program.one(TEMPLATE).inputs["networkInterfaces"]
    assert sum(interface["interfaceType"] == "efa-only" for interface in interfaces) == count
    (primary,) = (interface for interface in interfaces if interface["interfaceType"] == "interface")
    fabric = "aws-1-big-efa-id"
    assert primary["securityGroups"] == ["sg-0cluster", fabric]
    assert all(i["securityGroups"] == [fabric] for i in interfaces if i is not primary)
    assert not any("subnetId" in interface for interface in interfaces)  # EKS refuses such a template
    assert program.result[0].efa_per_node == count


def test_efa_is_open_within_its_group_in_both_directions_and_to_nobody_else(pools):
    program = pools(**pool(efa=True, placement_group=True))
    inward = program.one("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").inputs
    outward = program.one("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule").inputs
    for rule in (inward, outward):
        assert rule["ipProtocol"] == "-1"
        assert rule["securityGroupId"] == rule["referencedSecurityGroupId"] == "aws-1-big-efa-id"
        assert "cidrIpv4" not in rule


def test_nodes_with_efa_have_its_huge_pages_before_kubelet_counts_them(pools):
    program = pools(**pool(efa=True, placement_group=True))
    document = message_from_bytes(b64decode(program.one(TEMPLATE).inputs["userData"]))
    assert document.get_content_type() == "multipart/mixed"  # EKS adds its own part to those of such a document alone
    (part,) = document.get_payload()
    assert part.get_content_type() == "text/x-shellscript"
    script = part.get_payload()
    assert script.startswith("#!/bin/bash\n")
    assert "echo 'vm.nr_hugepages = 5128' >/etc/sysctl.d/90-isthmus-efa.conf\nsysctl --load=/etc/sysctl.d/90-" in script
    pages_mib = int(re.search(r"= (\d+)", script)[1]) * 2
    assert pages_mib == huge_pages.KEPT_MIB >= int(huge_pages.ASKED["hugepages-2Mi"].removesuffix("Mi"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_of_the_huge_pages_is_a_script():
    (part,) = message_from_bytes(b64decode(huge_pages.user_data())).get_payload()
    checked = subprocess.run(["bash", "-n"], input=part.get_payload(), text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_pool_without_efa_has_no_user_data(pools):
    assert "userData" not in pools(**pool()).one(TEMPLATE).inputs


def test_a_pool_without_efa_takes_the_clusters_group_from_eks(pools):
    template = pools(**pool()).one(TEMPLATE).inputs
    assert "networkInterfaces" not in template
    assert "vpcSecurityGroupIds" not in template


def test_efa_on_a_type_without_it_is_refused(pools):
    with pytest.raises(UserError, match="g6.xlarge has no EFA"):
        pools(**pool(instance_type="g6.xlarge", efa=True, placement_group=True))


def test_roots_are_encrypted_and_metadata_is_out_of_reach_of_pods(pools):
    template = pools(**pool(volume_gib=500)).one(TEMPLATE).inputs
    (disk,) = template["blockDeviceMappings"]
    assert (disk["ebs"]["encrypted"], disk["ebs"]["volumeSize"]) == ("true", 500)
    assert template["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }


def test_the_contract_counts_what_the_type_has(pools):
    (contract,) = pools(**pool()).result
    assert (contract.site, contract.cloud, contract.name, contract.nodes) == ("aws-1", "aws", "big", NODES["desired"])
    assert (contract.gpus_per_node, contract.cpus_per_node, contract.memory_gib_per_node) == (8, 192, 2048)
    assert contract.accelerator.kind == "h100-sxm"
    assert contract.labels == {
        "isthmus.dev/site": "aws-1",
        "isthmus.dev/pool": "big",
        "topology.kubernetes.io/region": "eu-central-1",
    }
    assert contract.efa_per_node == 0
