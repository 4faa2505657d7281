"""Objects are refused for what an API server would refuse, or would drop without a word."""

import copy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from infra.releases import CHARTS
from tests.kit import schemas
from tests.kit.schemas import RefusedError, pinned, validate, validate_all
from tests.kit.schemas.sources import CUSTOM, KUBERNETES
from tests.kit.schemas.structural import structural

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "models", "labels": {"app.kubernetes.io/name": "models"}},
    "spec": {"type": "ClusterIP", "ports": [{"port": 80, "targetPort": "http"}]},
}
FLAVOR: dict[str, Any] = {
    "apiVersion": "kueue.x-k8s.io/v1beta2",
    "kind": "ResourceFlavor",
    "metadata": {"name": "aws-1-l4"},
    "spec": {"nodeLabels": {"isthmus.dev/site": "aws-1"}},
}


def changed(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(manifest)
    *parents, last = path.split(".")
    inner: Any = made
    for key in parents:
        inner = inner[int(key) if key.isdigit() else key]
    inner[last] = value
    return made


def refusal(manifest: dict[str, Any]) -> str:
    with pytest.raises(RefusedError) as caught:
        validate(manifest)
    return str(caught.value)


def test_what_fits_passes():
    assert validate_all([SERVICE, FLAVOR]) == 2


@pytest.mark.parametrize(
    ("manifest", "path", "value", "told"),
    [
        (SERVICE, "spec.type", "ClusterIp", "$.spec.type: 'ClusterIp' is not one of ['ClusterIP'"),
        (SERVICE, "spec.ports.0.port", "http", "$.spec.ports[0].port: 'http' is not of type 'integer'"),
        (SERVICE, "spec.prots", [], "'prots' was unexpected"),
        (SERVICE, "metadata.name", "Models", "'Models' is no DNS name of at most 63 characters"),
        (SERVICE, "metadata.labels", {"a b": "c"}, "'a b' is no key of a label"),
        (SERVICE, "metadata.labels", {"a": "c d"}, "'c d' is no value of a label"),
        (SERVICE, "status", {}, "'status' was unexpected"),
        (FLAVOR, "spec.nodeLabel", {}, "'nodeLabel' was unexpected"),
        (FLAVOR, "spec.nodeLabels", {"isthmus.dev/site": 1}, "1 is not of type 'string'"),
        (FLAVOR, "apiVersion", "kueue.x-k8s.io/v1beta7", "no schema is pinned for this kind"),
    ],
)
def test_what_does_not_fit_is_refused_with_object_path_and_reason(manifest, path, value, told):
    text = refusal(changed(manifest, path, value))
    assert told in text
    assert text.startswith(f"{changed(manifest, path, value)['apiVersion']}/{manifest['kind']}")


def test_all_faults_of_a_program_are_told_at_once():
    with pytest.raises(RefusedError) as caught:
        validate_all([changed(SERVICE, "spec.type", "x"), FLAVOR, changed(FLAVOR, "spec.colour", "red")])
    assert len(str(caught.value).splitlines()) == 2


def test_a_duration_of_istio_is_one_that_go_reads():
    service = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "models"},
        "spec": {"http": [{"timeout": "1m30s"}]},
    }
    validate(service)
    assert "$.spec.http[0].timeout" in refusal(changed(service, "spec.http.0.timeout", "a minute"))


def test_numbers_of_the_engine_that_are_whole_are_integers():
    assert schemas._plain({"port": 80.0, "weight": 0.5, "none": None}) == {"port": 80, "weight": 0.5}


def test_an_object_is_closed_unless_its_schema_leaves_it_open():
    inner = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert structural(inner)["additionalProperties"] is False
    assert "additionalProperties" not in structural({**inner, "x-kubernetes-preserve-unknown-fields": True})
    assert structural({"type": "object", "additionalProperties": {"type": "string"}})["additionalProperties"] == {
        "type": "string"
    }


def test_exclusive_bounds_keep_their_sense():
    assert structural({"type": "integer", "minimum": 0, "exclusiveMinimum": True}) == {
        "type": "integer",
        "exclusiveMinimum": 0,
    }


@pytest.mark.parametrize("kind", sorted(kind for document in pinned() for kind in document["kinds"]))
def test_every_pinned_schema_is_one(kind):
    Draft202012Validator.check_schema(schemas._validator(kind).schema)


def test_schemas_name_the_module_version_and_hash_that_they_are_of():
    kept = {(d["source"]["module"], d["source"]["version"], d["source"]["sum"]) for d in pinned()}
    assert kept == {(source.module, source.version, source.sum) for source in (KUBERNETES, *CUSTOM)}
    assert sum(path.stat().st_size for path in schemas.PINNED.glob("*")) < 1 << 20


# the operator's newest module in reach is older than its chart; monitoring.coreos.com/v1 only ever gains fields
@pytest.mark.parametrize(
    "source", [s for s in CUSTOM if s.name != "prometheus-operator"], ids=lambda source: source.name
)
def test_charts_install_what_objects_are_checked_against(source):
    installed = {chart.installs for name, chart in CHARTS.items() if name.startswith(source.name)}
    assert installed == {source.application}
