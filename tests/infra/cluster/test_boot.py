"""The document that makes a server a node: what it says, what it hides, and that it says the same every time."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
import yaml

from infra.cluster.boot import USER_DATA_LIMIT, Boot, Escrow, files, node_config, user_data
from infra.storage import barbican

ANYWHERE = Boot(
    cluster="isthmus-dev",
    region="eu-central-1",
    version="1.34",
    labels={"isthmus.dev/site": "os-1", "isthmus.dev/pool": "l4", "topology.kubernetes.io/zone": "os-1"},
    gpus=2,
    provider="iam-ra",
    identity={
        "nodeName": "isthmus-dev-os-1-l4-0",
        "trustAnchorArn": "arn:anchor",
        "profileArn": "arn:profile",
        "roleArn": "arn:role",
    },
    hostname="isthmus-dev-os-1-l4-0",
    certificate_pem="-----BEGIN CERTIFICATE-----\n",
    escrow=Escrow("https://identity/v3", "credential-0", "credential-secret", "https://keys/v1/secrets/0"),
    volume_id="0f8fad5b-d9cb-469f-a165-70867728950e",
)
SSM = replace(
    ANYWHERE,
    provider="ssm",
    identity={"activationId": "activation-0", "activationCode": "code"},
    hostname=None,
    certificate_pem=None,
    escrow=None,
    volume_id=None,
)


def document(boot):
    text = user_data(boot)
    assert text.startswith("#cloud-config\n")
    return yaml.safe_load(text)


def written(boot):
    return {file["path"]: file for file in document(boot)["write_files"]}


@pytest.mark.parametrize("boot", [ANYWHERE, SSM], ids=["roles-anywhere", "ssm"])
def test_equal_facts_give_an_equal_document_within_novas_limit(boot):
    shuffled = replace(boot, labels=dict(reversed(boot.labels.items())), identity=dict(reversed(boot.identity.items())))
    assert user_data(shuffled) == user_data(boot)
    assert len(base64.b64encode(user_data(boot).encode())) < USER_DATA_LIMIT


def test_a_node_with_a_certificate_is_called_as_its_certificate_is():
    spec = node_config(ANYWHERE)["spec"]
    assert spec["cluster"] == {"name": "isthmus-dev", "region": "eu-central-1"}
    assert spec["hybrid"]["iamRolesAnywhere"]["nodeName"] == "isthmus-dev-os-1-l4-0"
    assert "ssm" not in spec["hybrid"]
    assert document(ANYWHERE)["hostname"] == "isthmus-dev-os-1-l4-0"


def test_a_node_of_ssm_has_an_activation_and_no_name_of_its_own():
    spec = node_config(SSM)["spec"]
    assert spec["hybrid"]["ssm"] == {"activationId": "activation-0", "activationCode": "code"}
    assert "hostname" not in document(SSM)


@pytest.mark.parametrize("boot", [ANYWHERE, SSM])
def test_pod_identity_finds_its_credentials(boot):
    assert node_config(boot)["spec"]["hybrid"]["enableCredentialsFile"] is True


def test_the_kubelet_gives_itself_only_labels_that_kubernetes_lets_it():
    # https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
    flags = node_config(ANYWHERE)["spec"]["kubelet"]["flags"]
    labels = dict(pair.split("=") for pair in flags[0].removeprefix("--node-labels=").split(","))
    assert labels == ANYWHERE.labels
    allowed = {"topology.kubernetes.io/region", "topology.kubernetes.io/zone"}
    assert all("kubernetes.io" not in label or label in allowed for label in labels)
    assert flags[1] == "--register-with-taints=nvidia.com/gpu=present:NoSchedule"


def test_the_private_key_is_in_no_file_and_secrets_are_roots_alone():
    files_by_path = written(ANYWHERE)
    assert "/etc/iam/pki/server.key" not in files_by_path
    assert "PRIVATE KEY-----\n" not in user_data(ANYWHERE)
    for path in ("/etc/isthmus/escrow.json", "/etc/isthmus/node-config.yaml"):
        assert files_by_path[path]["permissions"] == "0600"
    assert [path for path, file in files_by_path.items() if "credential-secret" in file["content"]] == [
        "/etc/isthmus/escrow.json"
    ]
    assert "credential-secret" not in repr(ANYWHERE)
    assert "code" not in repr(SSM)


def test_neither_pods_nor_other_users_reach_the_metadata_service():
    rules = written(SSM)["/etc/isthmus/metadata.nft"]["content"]
    assert "hook forward" in rules
    assert "ip daddr 169.254.169.254 drop" in rules
    assert "meta skuid != 0 drop" in rules


def test_the_node_joins_only_once_its_gpus_answer():
    script = written(ANYWHERE)["/usr/local/lib/isthmus/join.sh"]["content"]
    assert script.index("nvidia-smi") < script.index("nodeadm init")
    assert "-ne 2 ]" in script
    assert script.index("fetch_secrets.py") < script.index("nodeadm init")
    assert "nodeadm install 1.34 --credential-provider iam-ra" in script


def test_a_server_without_a_volume_waits_for_none():
    assert "/dev/disk" not in written(SSM)["/usr/local/lib/isthmus/join.sh"]["content"]
    assert "0f8fad5b-d9cb-469f-a" in written(ANYWHERE)["/usr/local/lib/isthmus/join.sh"]["content"]


def test_joining_is_tried_again_until_it_is_done():
    unit = written(ANYWHERE)["/etc/systemd/system/isthmus-join.service"]["content"]
    assert "Restart=on-failure" in unit
    assert "StartLimitIntervalSec=0" in unit
    assert "ConditionPathExists=!/etc/isthmus/joined" in unit


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("boot", [ANYWHERE, SSM], ids=["roles-anywhere", "ssm"])
def test_the_script_is_a_script(boot):
    script = files(boot)["/usr/local/lib/isthmus/join.sh"]
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_node_fetches_its_key_with_its_credential_by_the_script_that_comes_along():
    at = files(ANYWHERE)
    asked = json.loads(at["/etc/isthmus/escrow.json"])
    assert asked["identity_url"] == "https://identity/v3"
    assert asked["credential"] == {"id": "credential-0", "secret": "credential-secret"}
    assert (asked["secrets"], asked["template"]) == ({"key": "https://keys/v1/secrets/0"}, "${key}")
    assert asked["kind"]["name"] == "private key in PEM"
    path, settings, target = re.search(
        r"^python3 -I (\S+) (\S+) (\S+)$", at["/usr/local/lib/isthmus/join.sh"], re.MULTILINE
    ).groups()
    assert (settings, target) == ("/etc/isthmus/escrow.json", "/etc/iam/pki/server.key")
    assert at[path] == barbican.script()


def test_a_node_of_ssm_fetches_nothing():
    assert not [path for path in files(SSM) if path.endswith(("fetch_secrets.py", "escrow.json"))]
    assert "fetch_secrets" not in files(SSM)["/usr/local/lib/isthmus/join.sh"]
