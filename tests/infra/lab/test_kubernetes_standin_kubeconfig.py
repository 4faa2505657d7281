"""The lab's Kubernetes stand-in: which kubeconfig it takes for the lab's."""

import base64

import pytest
import yaml

from tests.lab.providers.kubernetes import kubeconfig
from workloads.spec.errors import UserError

TOKEN = {"token": "t"}


def config(server="https://127.0.0.1:6443", **user):
    return yaml.safe_dump(
        {
            "current-context": "lab",
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin", "namespace": "team"}}],
            "clusters": [{"name": "lab", "cluster": {"server": server}}],
            "users": [{"name": "admin", "user": user}],
        }
    )


def test_a_kubeconfig_is_taken_as_text_and_as_a_file_with_files_beside_it(tmp_path, monkeypatch):
    as_text = kubeconfig.access(config(**TOKEN))
    assert (as_text.server, as_text.token, as_text.namespace) == ("https://127.0.0.1:6443", "t", "team")
    (tmp_path / "admin.crt").write_text("PEM")
    (tmp_path / "kubeconfig").write_text(config(**{"client-certificate": "admin.crt"}))
    monkeypatch.chdir(tmp_path.parent)
    assert kubeconfig.access(f"{tmp_path.name}/kubeconfig").certificate == "PEM"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            config("https://192.0.2.1:6443"),
            "192.0.2.1:6443 is neither on this machine's loopback nor reached by isthmus-lab",
        ),
        (config("https://eks.example.org"), "names no address"),
        (config("http://127.0.0.1:8080"), "plain HTTP"),
        (config(exec={"command": "aws"}), "exec is no way in for the lab"),
        (
            config(**TOKEN).replace("current-context: lab", "current-context: other"),
            "'other' is none of its contexts",
        ),
        (config(**{"client-key-data": "%%"}), "client-key is no PEM text"),
        ("a: [", "no YAML"),
        ("nowhere/kubeconfig", "No such file"),
    ],
)
def test_a_kubeconfig_that_is_not_the_lab_s_is_refused_in_one_line(text, told):
    with pytest.raises(UserError, match="kubeconfig|Kubernetes API server") as refused:
        kubeconfig.access(text)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_keys_that_do_not_fit_are_refused_without_their_content():
    access = kubeconfig.access(config(**{"client-certificate-data": base64.b64encode(b"SECRET").decode()}))
    with pytest.raises(UserError, match="no PEM") as refused:
        access.tls()
    assert "SECRET" not in str(refused.value)
