"""What is shown and alerted on is what is really exported."""

import inspect
import json
import re
from typing import Any

import pytest

from infra.mesh import ports
from infra.observability import dashboards, rules, watching
from infra.observability.monitoring import monitoring
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import CloudProgram, cloud_settings, declare
from tests.kit.schemas import manifests_of, validate_all
from workloads.inference import watching as inference_watching
from workloads.trainer.watching import prometheus as trainer_metrics

HELM = "kubernetes:helm.sh/v3:Release"

# of exporters that are not in this repository, from the documents that the dashboards name
ELSEWHERE = {
    # https://istio.io/latest/docs/reference/config/metrics/
    "istio_requests_total",
    "istio_request_duration_milliseconds_bucket",
    # https://github.com/NVIDIA/dcgm-exporter/blob/4.6.0-4.8.3/etc/default-counters.csv
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_XID_ERRORS",
    # https://github.com/kubernetes/kube-state-metrics/tree/main/docs/metrics
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas_available",
    "kube_node_labels",
    "kube_node_status_allocatable",
    "kube_node_status_capacity",
    "kube_node_status_condition",
    "kube_pod_status_phase",
    # https://github.com/prometheus/node_exporter, netdev
    "node_network_transmit_bytes_total",
    # https://cert-manager.io/docs/devops-tips/prometheus-metrics/
    "certmanager_certificate_expiration_timestamp_seconds",
    # https://kueue.sigs.k8s.io/docs/reference/metrics/
    "kueue_pending_workloads",
}
_WORDS = {"and", "or", "unless", "bool", "offset"}


def trainer_names() -> set[str]:
    """Names in the code that exports them: which are sent depends on what is known of a run."""
    source = inspect.getsource(trainer_metrics)
    gauges = re.findall(r'gauge\(\s*"(\w+)"|metric\(GaugeMetricFamily, "(\w+)"', source)
    counters = re.findall(r'counter\("(\w+)"|metric\(CounterMetricFamily, "(\w+)"', source)
    return {f"isthmus_{a or b}" for a, b in gauges} | {f"isthmus_{a or b}_total" for a, b in counters}


def inference_names() -> set[str]:
    source = inspect.getsource(inference_watching)
    found = set()
    for kind, name in re.findall(r'(Gauge|Counter|Histogram)\(\s*"(\w+)"', source):
        endings = {"Gauge": ("",), "Counter": ("_total",), "Histogram": ("_bucket", "_count", "_sum")}[kind]
        found |= {f"{name}{ending}" for ending in endings}
    return found


def names(expression: str) -> set[str]:
    """Metrics that PromQL speaks of."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    return {
        match[0]
        for match in re.finditer(r"(?<![\w.])[A-Za-z_:][\w:]*", bare)
        if match[0] not in _WORDS and not bare[match.end() :].lstrip().startswith("(")
    }


def expressions() -> list[tuple[str, str]]:
    shown = [
        (f"{dashboard.uid}: {panel.title}", query.expression)
        for dashboard in dashboards.ALL
        for panel in dashboard.panels
        for query in panel.queries
    ]
    choices = [
        (f"{dashboard.uid}: {label}", metric) for dashboard in dashboards.ALL for label, metric in dashboard.filters
    ]
    return [*shown, *choices, *((alert.name, alert.expression) for alert in rules.ALERTS)]


def declared(**changes: Any) -> CloudProgram:
    settings = cloud_settings(**changes)
    return declare(lambda scope: monitoring(fakes.inside(scope), settings, fakes.controllers()), settings)


def test_names_of_metrics_are_found_in_promql():
    assert names('sum by (site) (rate(a_total{x="by"}[5m])) / on (node) group_left (y) b > 2 and c') == {
        "a_total",
        "b",
        "c",
    }


def test_the_exporters_of_this_repository_are_read_right():
    assert {"isthmus_round", "isthmus_validation_quality", "isthmus_sent_bytes_total"} <= trainer_names()
    assert "isthmus_inference_request_seconds_bucket" in inference_names()


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=lambda value: value[:40])
def test_every_metric_that_is_asked_for_is_exported(where, expression):
    known = trainer_names() | inference_names() | ELSEWHERE
    asked = names(expression)
    assert asked, where
    assert asked <= known, where


def test_nothing_is_listed_as_exported_elsewhere_that_nobody_asks_for():
    asked = set().union(*(names(expression) for _, expression in expressions()))
    assert asked >= ELSEWHERE


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=lambda value: value[:40])
def test_brackets_of_promql_close(where, expression):
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing), where


def test_every_object_fits_the_schema():
    assert validate_all(manifests_of(declared())) == 1 + 4 + 1 + len(dashboards.ALL)


def test_pages_are_json_with_panels_that_do_not_overlap():
    for dashboard in dashboards.ALL:
        page = json.loads(dashboards.config_map(dashboard)["data"][f"{dashboard.uid}.json"])
        taken = set()
        for panel in page["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken
            taken |= cells
        assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])
    assert len({dashboard.uid for dashboard in dashboards.ALL}) == len(dashboards.ALL)


def test_alerts_say_what_and_how_bad():
    assert len({alert.name for alert in rules.ALERTS}) == len(rules.ALERTS)
    for alert in rules.ALERTS:
        assert re.fullmatch(r"\d+[mh]", alert.after)
        assert "{{" in alert.words or alert.name == "IsthmusRunWaits"


def test_pods_are_asked_on_the_ports_that_they_listen_on():
    asked = {
        monitor["metadata"]["name"]: monitor["spec"]["podMetricsEndpoints"][0]["portNumber"]
        for monitor in watching.monitors()
        if monitor["kind"] == "PodMonitor"
    }
    assert asked == {
        "isthmus-trainer": ports.TRAINER_METRICS,
        "isthmus-inference": ports.INFERENCE_HEALTH,
        "isthmus-istio-ingress": 15020,
    }


def test_grafana_has_no_password_that_everybody_knows():
    assert declared().one(HELM).inputs["values"]["grafana"]["adminPassword"] == ""


def test_an_operator_that_is_there_watches_the_platform_too():
    program = declared(**{"cloud.cluster.installed": ["monitoring"]})
    assert program.of_type(HELM) == []
    assert program.of_type("kubernetes:core/v1:Namespace") == []
    assert program.of_type("kubernetes:monitoring.coreos.com/v1:PodMonitor")


def test_where_nothing_is_to_be_watched_nothing_is_declared():
    program = declared(**{"cloud.cluster.monitored": False})
    assert [resource for resource in program.resources if resource.type.startswith("kubernetes:")] == []
