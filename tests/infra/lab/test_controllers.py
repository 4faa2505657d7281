"""The lab's controllers are those that the program would install, at its versions and with its values."""

from itertools import pairwise

import pytest
import yaml

from infra.releases import CHARTS, OFF_HYBRID_NODES
from infra.scheduling.configuration import CONFIGURATION
from tests.kit.cloud import whole
from tests.kit.schemas import manifests_of
from tests.kit.schemas.sources import CUSTOM
from tests.lab.controllers.charts import SOURCES, merged
from tests.lab.controllers.fitting import deployments, fitted, kinds_apart
from tests.lab.controllers.probes import PROBES
from tests.lab.controllers.programs import CERT_MANAGER, GO, JOBSET, KUEUE, PROGRAMS, required

IMAGE = "localhost/some:1"


def source(name):
    (found,) = [source for source in SOURCES if source.release.name == name]
    return found


def deployment(name="manager", **pod):
    container = {
        "name": "c",
        "image": "registry.example.org/c:9",
        "command": ["/c"],
        "args": ["--level=2"],
        "readinessProbe": {"httpGet": {"path": "/ready"}, "initialDelaySeconds": 5, "periodSeconds": 10},
        "securityContext": {"runAsNonRoot": True},
        "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "2"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "n", "labels": {"app.kubernetes.io/component": "webhook"}},
        "spec": {
            "replicas": 2,
            "strategy": {"rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {"containers": [container], **pod}},
        },
    }


@pytest.mark.parametrize("module", [CERT_MANAGER, JOBSET, KUEUE])
def test_a_program_is_built_at_the_version_that_the_stack_would_install(module):
    (source,) = [source for source in SOURCES if source.module == module]
    versions = required((GO / source.go / "go.mod").read_text(encoding="utf-8"))
    assert versions[module] == f"v{source.release.installs}"


def test_istio_is_of_the_branch_of_the_release_with_the_kinds_of_the_release():
    versions = required((GO / "mesh/go.mod").read_text(encoding="utf-8"))
    assert versions["istio.io/api"] == f"v{CHARTS['istiod'].installs}"
    stamps = [stamp for program in PROGRAMS for name, stamp in program.stamps.items() if name.startswith("istio.io/")]
    assert stamps
    assert all(CHARTS["istiod"].installs.startswith(f"{stamp}.") for stamp in stamps)


def test_hashes_of_modules_are_those_of_the_schemas():
    for source in CUSTOM:
        lines = [f"{source.module} {source.version} {source.sum}"]
        sums = [path.read_text(encoding="utf-8").splitlines() for path in GO.glob("*/go.sum")]
        known = {line for text in sums for line in text if line.startswith(f"{source.module} {source.version} ")}
        assert known <= set(lines)


def test_every_kind_that_the_lab_declares_comes_with_a_chart():
    brought = set().union(*(source.groups for source in SOURCES))
    declared = {
        manifest["apiVersion"].partition("/")[0]
        for manifest in manifests_of(whole("lab"))
        if "." in manifest["apiVersion"].partition("/")[0]
        and not manifest["apiVersion"].partition("/")[0].endswith(".k8s.io")
    }
    assert declared
    assert declared <= brought
    assert {"jobset.x-k8s.io", "kueue.x-k8s.io"} <= brought


def test_kueue_is_configured_as_the_program_would():
    text = source("kueue").values["managerConfig"]["controllerManagerConfigYaml"]
    assert yaml.safe_load(text) == dict(CONFIGURATION)
    assert source("kueue").values["controllerManager"]["nodeSelector"] == {}


def test_istiod_gets_the_programs_values_but_for_what_the_lab_lacks():
    values = source("istiod").values
    assert values["base"] == {"validationFailurePolicy": "Fail"}
    assert values["meshConfig"]["accessLogEncoding"] == "JSON"
    assert values["meshConfig"]["defaultConfig"] == {"holdApplicationUntilProxyStarts": True, "concurrency": 1}
    assert values["global"]["proxy"]["resources"]["limits"] == {"memory": "512Mi"}
    assert values["cni"] == {"enabled": False}


def test_values_are_merged_key_by_key():
    assert merged({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"c": [2]}}) == {"a": {"b": 1, "c": [2]}, "d": 2}


def test_a_deployment_is_one_pod_of_the_labs_image_beside_the_control_plane():
    (made,) = fitted([deployment(topologySpreadConstraints=[{"maxSkew": 1}])], IMAGE)
    spec, pod = made["spec"], made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert pod["affinity"] == OFF_HYBRID_NODES
    assert "topologySpreadConstraints" not in pod
    assert (container["image"], container["imagePullPolicy"]) == (IMAGE, "Never")
    assert container["args"] == ["--level=2"]
    assert "command" not in container
    assert "limits" not in container["resources"]
    assert container["readinessProbe"]["periodSeconds"] == 1
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready"}
    assert container["securityContext"] == {"runAsNonRoot": True, "runAsUser": 1337}


def test_an_image_of_several_programs_is_told_which():
    (made,) = fitted([deployment()], IMAGE, several=True)
    assert made["spec"]["template"]["spec"]["containers"][0]["args"] == ["webhook", "--level=2"]


def test_what_is_rendered_is_not_changed():
    rendered = deployment()
    fitted([rendered], IMAGE, several=True)
    assert rendered == deployment()


def test_objects_about_several_replicas_and_empty_documents_are_left_out():
    documents = [None, {"kind": "PodDisruptionBudget"}, {"kind": "HorizontalPodAutoscaler"}, deployment()]
    assert deployments(fitted(documents, IMAGE)) == [("n", "manager")]


def test_kinds_come_before_objects():
    kind = {"kind": "CustomResourceDefinition"}
    assert kinds_apart([deployment(), kind]) == ([kind], [deployment()])


def test_every_chart_with_a_webhook_is_probed():
    probed = {probe.manifest["apiVersion"].partition("/")[0] for probe in PROBES}
    assert {"cert-manager.io", "jobset.x-k8s.io", "kueue.x-k8s.io", "security.istio.io", "v1"} == probed


def test_istios_kinds_come_before_istiod():
    names = [source.release.name for source in SOURCES]
    assert ("istio-base", "istiod") in set(pairwise(names))
