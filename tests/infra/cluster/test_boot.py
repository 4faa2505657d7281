"""The document that makes a server a node: what it says, what it hides, and that it says the same every time."""

import base64
import importlib.util
import io
import json
import shutil
import subprocess
import urllib.error
from dataclasses import replace

import pytest
import yaml

from infra.cluster.boot import USER_DATA_LIMIT, Boot, Escrow, files, node_config, user_data
from infra.settings import ROOT

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
    assert script.index("fetch_key.py") < script.index("nodeadm init")
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


@pytest.fixture
def fetch(monkeypatch):
    """The script as a node runs it, with a cloud that answers as told."""
    spec = importlib.util.spec_from_file_location("fetch_key", ROOT / "infra/cluster/boot/fetch_key.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked = []

    def cloud(payload, *, fails=False):
        def urlopen(request, timeout):
            asked.append(request)
            if fails:
                raise urllib.error.URLError("away")
            answer = io.BytesIO(payload.encode())
            answer.headers = {"X-Subject-Token": "token-0"}
            return answer

        monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
        return module, asked

    return cloud


KEY = "-----BEGIN PRIVATE KEY-----\nMAo=\n-----END PRIVATE KEY-----\n"


def test_the_key_is_fetched_with_the_credential_and_is_roots_alone(fetch, tmp_path):
    module, asked = fetch(KEY)
    escrow = tmp_path / "escrow.json"
    escrow.write_text(files(ANYWHERE)["/etc/isthmus/escrow.json"])
    module.main(escrow, tmp_path / "pki" / "server.key")
    assert (tmp_path / "pki" / "server.key").read_text() == KEY
    assert (tmp_path / "pki" / "server.key").stat().st_mode & 0o777 == 0o600
    sent = json.loads(asked[0].data)["auth"]["identity"]["application_credential"]
    assert sent == {"id": "credential-0", "secret": "credential-secret"}
    assert asked[0].full_url == "https://identity/v3/auth/tokens"
    assert asked[1].full_url == "https://keys/v1/secrets/0/payload"
    assert asked[1].headers["X-auth-token"] == "token-0"


@pytest.mark.parametrize(("payload", "fails", "error"), [("<html>", False, ValueError), (KEY, True, OSError)])
def test_what_is_no_key_leaves_no_file(fetch, tmp_path, payload, fails, error):
    module, _ = fetch(payload, fails=fails)
    escrow = tmp_path / "escrow.json"
    escrow.write_text(files(ANYWHERE)["/etc/isthmus/escrow.json"])
    with pytest.raises(error):
        module.main(escrow, tmp_path / "server.key")
    assert not (tmp_path / "server.key").exists()
