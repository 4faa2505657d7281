"""Servers of OpenStack as nodes: apart from each other, with identities, and secrets where they belong."""

import json

import pytest
import yaml

from infra.addressing import address_plan
from tests.kit.cloud import cloud_settings

SERVER = "openstack:compute/instance:Instance"
GROUPS = "sites.1.openstack.gpu_servers"
L4 = {
    "name": "l4",
    "flavor": "g1.l4",
    "image": "ubuntu-24.04-nvidia",
    "count": 1,
    "vcpus": 8,
    "memory_gib": 32,
    "gpu": {"kind": "l4", "count": 1, "memory_gib": 24},
}
SSM = {"sites.1.openstack.join": "ssm"}


def told(server):
    written = yaml.safe_load(server.inputs["userData"])["write_files"]
    return {file["path"]: file["content"] for file in written}


def test_a_site_without_servers_declares_nothing(servers):
    program = servers(**{GROUPS: []})
    assert program.result == ()
    assert not program.of_type("aws:rolesanywhere/trustAnchor:TrustAnchor")


def test_groups_go_on_the_port_which_knows_its_pods(servers):
    program = servers()
    port, server = program.one("openstack:networking/port:Port").inputs, program.one(SERVER).inputs
    plan = address_plan(cloud_settings())
    assert port["securityGroupIds"] == ["group-nodes"]
    assert port["allowedAddressPairs"] == [{"ipAddress": str(plan.openstack.pods)}]
    assert port["portSecurityEnabled"] is True
    assert "securityGroups" not in server
    assert server["networks"] == [{"port": "os-1-l4-0-id"}]


def test_what_a_server_is_told_is_secret(servers):
    assert "userData" in servers().one(SERVER).secrets
    assert "userData" in servers(**SSM).one(SERVER).secrets


def test_the_key_goes_to_barbican_and_the_credential_reads_it_alone(servers):
    program = servers()
    secret = program.one("openstack:keymanager/secretV1:SecretV1")
    credential = program.one("openstack:identity/applicationCredential:ApplicationCredential")
    assert "payload" in secret.secrets
    assert secret.inputs["payload"] == "CERTIFICATE KEY"
    assert credential.inputs["accessRules"] == [
        {"service": "key-manager", "method": "GET", "path": "/v1/secrets/os-1-l4-0/payload"}
    ]
    assert credential.inputs["unrestricted"] is False
    assert "CERTIFICATE KEY" not in program.one(SERVER).inputs["userData"]


def test_the_certificate_the_node_and_the_server_have_one_name(servers):
    program = servers()
    server = program.one(SERVER)
    config = yaml.safe_load(told(server)["/etc/isthmus/node-config.yaml"])
    issued = program.one("isthmus:keys:IssuedCertificate").inputs
    assert (
        server.inputs["name"]
        == config["spec"]["hybrid"]["iamRolesAnywhere"]["nodeName"]
        == issued["common_name"]
        == "isthmus-dev-os-1-l4-0"
    )


def test_roles_anywhere_trusts_the_stacks_authority_for_sessions_named_as_certificates(servers):
    program = servers()
    anchor = program.one("aws:rolesanywhere/trustAnchor:TrustAnchor").inputs
    profile = program.one("aws:rolesanywhere/profile:Profile").inputs
    assert anchor["source"]["sourceData"]["x509CertificateData"] == "CA PEM"
    assert profile["acceptRoleSessionName"] is True
    trust = program.one("aws:iam/role:Role").inputs["assumeRolePolicy"]
    assert "${aws:PrincipalTag/x509Subject/CN}" in trust
    assert program.one("aws:eks/accessEntry:AccessEntry").inputs["type"] == "HYBRID_LINUX"


def test_a_hybrid_node_may_ask_for_its_cluster_and_pull_and_no_more(servers):
    program = servers()
    (policy,) = program.of_type("aws:iam/rolePolicy:RolePolicy")
    (statement,) = json.loads(policy.inputs["policy"])["Statement"]
    assert statement["Action"] == ["eks-auth:AssumeRoleForPodIdentity", "eks:DescribeCluster"]
    assert statement["Resource"] == ["arn:aws:eks:eu-central-1:123456789012:cluster/isthmus-dev"]
    (managed,) = program.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    assert managed.inputs["policyArn"].endswith("/AmazonEC2ContainerRegistryPullOnly")


def test_an_activation_names_the_role_and_admits_as_many_as_there_are(servers):
    program = servers(**SSM, **{GROUPS: [L4 | {"count": 3}]})
    activation = program.one("aws:ssm/activation:Activation").inputs
    role = program.one("aws:iam/role:Role").inputs
    assert activation["iamRole"] == role["name"]
    assert activation["registrationLimit"] == 3
    config = yaml.safe_load(told(program.of_type(SERVER)[0])["/etc/isthmus/node-config.yaml"])
    assert config["spec"]["hybrid"]["ssm"]["activationCode"] == "code-of-activation"


def test_a_new_activation_replaces_no_server_and_a_new_certificate_does(servers):
    assert servers(**SSM).one(SERVER).ignore_changes == ("userData",)
    assert servers().one(SERVER).ignore_changes == ()


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (10, 1), (11, 2), (25, 3)])
def test_no_server_group_has_more_than_ten(servers, count, needed):
    program = servers(**{GROUPS: [L4 | {"count": count}]})
    groups = program.of_type("openstack:compute/serverGroup:ServerGroup")
    assert len(groups) == needed
    assert {group.inputs["policies"] for group in groups} == {"soft-anti-affinity"}
    members = [server.inputs["schedulerHints"][0]["group"] for server in program.of_type(SERVER)]
    assert len(members) == count
    assert max(map(members.count, members)) <= 10


def test_every_server_has_its_volume_unless_there_is_to_be_none(servers):
    program = servers(**{GROUPS: [L4 | {"count": 2, "volume_gib": 500}]})
    volumes = program.of_type("openstack:blockstorage/volume:Volume")
    assert [volume.inputs["size"] for volume in volumes] == [500, 500]
    assert len(program.of_type("openstack:compute/volumeAttach:VolumeAttach")) == 2
    assert not servers(**{GROUPS: [L4 | {"volume_gib": 0}]}).of_type("openstack:blockstorage/volume:Volume")


def test_the_labels_say_where_a_node_is(servers):
    program = servers()
    (contract,) = program.result
    assert contract.labels == {
        "isthmus.dev/site": "os-1",
        "isthmus.dev/pool": "l4",
        "topology.kubernetes.io/region": "regionone",
        "topology.kubernetes.io/zone": "os-1",
    }
    config = yaml.safe_load(told(program.one(SERVER))["/etc/isthmus/node-config.yaml"])
    (labels, _) = config["spec"]["kubelet"]["flags"]
    assert all(f"{name}={value}" in labels for name, value in contract.labels.items())


def test_the_contract_counts_what_the_stack_says_of_the_flavor(servers):
    (contract,) = servers(
        **{GROUPS: [L4 | {"count": 3, "gpu": {"kind": "h100-sxm", "count": 8, "memory_gib": 80}}]}
    ).result
    assert (contract.cloud, contract.nodes, contract.gpus_per_node, contract.efa_per_node) == ("openstack", 3, 8, 0)
    assert contract.accelerator.memory_bytes == 80 * 2**30
    assert len(contract.ready) == 3
    assert contract.addresses == ("10.64.0.10",) * 3  # each its port's, which the mock gives all the same
