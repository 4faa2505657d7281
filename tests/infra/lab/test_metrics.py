"""The objects of the lab's metrics-server fit their kinds and agree with each other."""

import re

from infra.releases import CHARTS
from tests.kit.schemas import validate_all
from tests.lab.metrics.building import PROGRAM
from tests.lab.metrics.installing import measured
from tests.lab.metrics.manifests import API, manifests


def of_kind(kind: str) -> list[dict]:
    return [manifest for manifest in manifests() if manifest["kind"] == kind]


def test_every_object_fits_its_kind_but_the_one_that_registers_the_api():
    """No schema of that kind is pinned, as the program has none of it."""
    assert validate_all(manifest for manifest in manifests() if manifest["kind"] != "APIService") == 8


def test_the_version_is_the_programs():
    required = re.search(
        r"^require sigs.k8s.io/metrics-server (\S+)", (PROGRAM.folder / "go.mod").read_text(), re.MULTILINE
    )
    assert required[1] == f"v{CHARTS['metrics'].installs}"


def test_the_service_finds_the_pod_and_the_api_the_service():
    (service,), (deployment,), (api,) = of_kind("Service"), of_kind("Deployment"), of_kind("APIService")
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (port,) = template["spec"]["containers"][0]["ports"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert api["metadata"]["name"] == API == f"{api['spec']['version']}.{api['spec']['group']}"
    assert api["spec"]["service"] == {key: service["metadata"][key] for key in ("name", "namespace")}


def test_kubelets_are_verified_by_the_clusters_authority():
    (container,) = of_kind("Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert "--kubelet-insecure-tls" not in container["args"]
    assert "--kubelet-certificate-authority=/etc/cluster/ca.crt" in container["args"]


def test_an_answer_names_its_nodes():
    assert measured('{"items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}') == {"a", "b"}
