"""The control plane: who gets in, from where, and what is there before the first pod."""

import json
from dataclasses import replace

import pulumi
import pytest

from infra.addressing import address_plan
from infra.cluster import addons, control_plane, kubeconfig
from infra.cluster.administrators import entry_name
from infra.cluster.firewall import OPENINGS
from infra.settings import ROOT
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings, declare
from workloads.spec.errors import UserError

CLUSTER = "aws:eks/cluster:Cluster"
RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
ADMINISTRATORS = ["arn:aws:iam::123456789012:role/platform", "arn:aws:iam::210987654321:role/platform"]


def test_hybrid_nodes_and_their_pods_are_known_and_overlap_nothing(plane):
    inputs = plane().one(CLUSTER).inputs
    plan = address_plan(cloud_settings())
    remote = inputs["remoteNetworkConfig"]
    assert remote["remoteNodeNetworks"]["cidrs"] == [str(plan.openstack.nodes)]
    assert remote["remotePodNetworks"]["cidrs"] == [str(plan.openstack.pods)]
    assert inputs["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == str(plan.services)
    assert inputs["vpcConfig"]["subnetIds"] == ["subnet-intra-0", "subnet-intra-1"]


@pytest.mark.parametrize("networks", [[], ["203.0.113.0/24"]])
def test_the_api_is_public_or_private_and_never_both(plane, networks):
    inputs = plane(**{"cloud.cluster.public_access": networks}).one(CLUSTER).inputs["vpcConfig"]
    assert inputs["endpointPublicAccess"] is bool(networks)
    assert inputs["endpointPrivateAccess"] is not bool(networks)
    # the nodes of the other site come from outside too, by their router's address
    assert inputs.get("publicAccessCidrs", []) == [*networks, *(["192.0.2.30/32"] if networks else [])]


def test_secrets_are_encrypted_and_everything_is_logged_to_an_encrypted_group(plane):
    program = plane()
    inputs, logs = program.one(CLUSTER).inputs, program.one("aws:cloudwatch/logGroup:LogGroup").inputs
    assert inputs["encryptionConfig"] == {
        "provider": {"keyArn": "arn:aws:kms:eu-central-1:123456789012:key/cluster"},
        "resources": ["secrets"],
    }
    assert inputs["enabledClusterLogTypes"] == ["api", "audit", "authenticator", "controllerManager", "scheduler"]
    assert logs["name"] == f"/aws/eks/{inputs['name']}/cluster"
    assert (logs["kmsKeyId"], logs["retentionInDays"]) == ("arn:aws:kms:eu-central-1:123456789012:key/logs", 30)


@pytest.mark.parametrize("protect", [True, False])
def test_the_cluster_is_kept_from_deletion_where_the_stack_protects(plane, protect):
    cluster = plane(**{"cloud.protect": protect}).one(CLUSTER)
    assert cluster.inputs["deletionProtection"] is protect
    assert bool(cluster.protect) is protect


def test_access_is_by_entries_alone(plane):
    program = plane(**{"cloud.cluster.administrators": ADMINISTRATORS})
    assert program.one(CLUSTER).inputs["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": False,
    }
    entries = program.of_type("aws:eks/accessEntry:AccessEntry")
    assert [entry.inputs["principalArn"] for entry in entries] == ADMINISTRATORS
    policies = program.of_type("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert {policy.inputs["policyArn"] for policy in policies} == {
        "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
    }
    assert len(policies) == 2


def test_where_nobody_is_named_whoever_applies_gets_in(plane):
    program = plane()
    assert program.one(CLUSTER).inputs["accessConfig"]["bootstrapClusterCreatorAdminPermissions"] is True
    assert not program.of_type("aws:eks/accessEntry:AccessEntry")


def test_equal_names_in_two_accounts_are_two_entries():
    assert len(set(map(entry_name, ADMINISTRATORS))) == 2


def test_the_other_side_reaches_named_ports_and_no_others(plane):
    plan = address_plan(cloud_settings())
    rules = plane().of_type(RULE)
    assert {rule.inputs["securityGroupId"] for rule in rules} == {"sg-0cluster"}
    assert {rule.inputs["cidrIpv4"] for rule in rules} == {str(plan.openstack.nodes), str(plan.openstack.pods)}
    to_hosts = {rule.inputs["fromPort"] for rule in rules if rule.inputs["cidrIpv4"] == str(plan.openstack.nodes)}
    assert to_hosts == {443, 3}  # the API server, and ICMP's "destination unreachable"
    ports = {(rule.inputs["ipProtocol"], rule.inputs["fromPort"], rule.inputs["toPort"]) for rule in rules}
    assert ports == {(opening.protocol, opening.first, opening.last) for opening in OPENINGS}
    assert {("tcp", 443, 443), ("tcp", 10250, 10250), ("udp", 53, 53), ("tcp", 53, 53), ("icmp", 3, 4)} <= ports


def test_system_nodes_have_no_taint_and_keep_their_metadata_from_pods(plane):
    program = plane()
    group = program.one("aws:eks/nodeGroup:NodeGroup")
    template = program.one("aws:ec2/launchTemplate:LaunchTemplate").inputs
    assert "taints" not in group.inputs
    assert group.inputs["labels"] == {"isthmus.dev/site": "aws-1", "isthmus.dev/pool": "system"}
    assert group.inputs["subnetIds"] == ["subnet-private-0", "subnet-private-1"]
    assert template["metadataOptions"]["httpTokens"] == "required"
    assert template["metadataOptions"]["httpPutResponseHopLimit"] == 1
    (disk,) = template["blockDeviceMappings"]
    assert (disk["ebs"]["encrypted"], disk["ebs"]["volumeType"]) == ("true", "gp3")
    assert {spec["resourceType"] for spec in template["tagSpecifications"]} == {
        "instance",
        "volume",
        "network-interface",
    }


def test_add_ons_are_pinned_for_a_known_version_and_left_to_eks_for_another(plane):
    known = {a.inputs["addonName"]: a.inputs["addonVersion"] for a in plane().of_type("aws:eks/addon:Addon")}
    assert known == dict(addons.VERSIONS["1.34"])
    other = plane(**{"cloud.cluster.version": "1.35"}).of_type("aws:eks/addon:Addon")
    assert {addon.inputs["addonName"] for addon in other} == known.keys()
    assert all("addonVersion" not in addon.inputs for addon in other)


def test_the_vpc_cni_and_core_dns_stay_off_hybrid_nodes_and_policies_are_enforced():
    cni, dns = (addons.configuration(name, {}) for name in ("vpc-cni", "coredns"))
    for values in (cni, dns):
        (term,) = values["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
            "nodeSelectorTerms"
        ]
        assert term["matchExpressions"] == [
            {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["hybrid"]}
        ]
    assert cni["enableNetworkPolicy"] == "true"
    assert cni["env"]["AWS_VPC_K8S_CNI_EXTERNALSNAT"] == "true"


def test_pod_identity_serves_hybrid_nodes_too(plane):
    agent = plane().named("aws-1-eks-pod-identity-agent")
    assert json.loads(agent.inputs["configurationValues"]) == {"daemonsets": {"hybrid": {"create": True}}}


def test_add_ons_have_roles_of_their_own_rather_than_the_nodes(plane):
    program = plane()
    given = {
        (identity.inputs["namespace"], identity.inputs["serviceAccount"])
        for identity in program.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    }
    assert given == {("kube-system", "aws-node"), ("kube-system", "ebs-csi-controller-sa")}
    attached = {
        resource.inputs["policyArn"].rsplit("/", 1)[-1]
        for resource in program.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
        if resource.name.startswith("aws-1-nodes-")
    }
    assert attached == {
        "AmazonEKSWorkerNodePolicy",
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonSSMManagedInstanceCore",
    }


def test_no_node_starts_before_its_network_plugin(plane):
    program = plane()
    before = program.one("aws:eks/nodeGroup:NodeGroup").depends_on
    assert {"aws-1-vpc-cni", "aws-1-kube-proxy", "aws-1-eks-pod-identity-agent"} <= {
        urn.rsplit("::", 1)[-1] for urn in before
    }


def test_the_kubeconfig_asks_for_a_token_each_time_and_holds_none(plane):
    provider = plane().one("pulumi:providers:kubernetes")
    config = json.loads(provider.inputs["kubeconfig"])
    (user,) = config["users"]
    assert user["user"]["exec"]["args"] == [
        "eks",
        "get-token",
        "--cluster-name",
        "isthmus-dev",
        "--region",
        "eu-central-1",
    ]
    assert "token" not in user["user"]
    assert config["clusters"][0]["cluster"]["certificate-authority-data"] == "Q0E="


def test_a_given_kubeconfig_is_used_instead_and_eks_is_declared_all_the_same(plane):
    program = plane(**{"cloud.cluster.kubeconfig": "/etc/lab/admin.conf"})
    assert program.one("pulumi:providers:kubernetes").inputs["kubeconfig"] == "/etc/lab/admin.conf"
    assert program.one(CLUSTER).inputs["version"] == "1.34"


def test_a_given_file_is_of_the_project_s_root_wherever_the_engine_is(monkeypatch):
    monkeypatch.chdir(ROOT / "infra")
    assert kubeconfig.given(".state/lab/kubeconfig") == "../.state/lab/kubeconfig"
    for as_it_is in ("/etc/lab/admin.conf", "apiVersion: v1"):
        assert kubeconfig.given(as_it_is) == as_it_is
    monkeypatch.setattr(kubeconfig, "ROOT", ROOT / "stacks")
    kubeconfig.require_file("Pulumi.lab.yaml")
    with pytest.raises(UserError, match=r"'Pulumi.bal.yaml' is no file here .*; write the cluster's there"):
        kubeconfig.require_file("Pulumi.bal.yaml")


def test_equal_facts_give_an_equal_kubeconfig():
    one = kubeconfig.render("a", "https://a.example.org", "Q0E=", "eu-central-1")
    assert one == kubeconfig.render("a", "https://a.example.org", "Q0E=", "eu-central-1")
    assert json.loads(one)["current-context"] == "a"


def test_the_contract_says_how_to_reach_the_cluster(plane):
    result = plane().result
    assert (result.name, result.version, result.security_group) == ("isthmus-dev", "1.34", "sg-0cluster")
    assert result.node_role_arn.startswith("arn:aws:iam::123456789012:role/")


def test_a_public_api_lets_in_the_nodes_of_both_sides_by_their_addresses_outside():
    settings = cloud_settings(**{"cloud.cluster.public_access": ["203.0.113.0/24"]})

    def body(scope):
        aws_side = replace(fakes.aws_network(), nat_addresses=(pulumi.Output.from_input("198.51.100.7"),))
        other, plan = fakes.openstack_network(), address_plan(settings)
        return control_plane.cluster(scope, settings, plan, fakes.account(), aws_side, other, fakes.keyring())

    networks = declare(body, settings).one(CLUSTER).inputs["vpcConfig"]["publicAccessCidrs"]
    assert networks == ["203.0.113.0/24", "198.51.100.7/32", "192.0.2.30/32"]
