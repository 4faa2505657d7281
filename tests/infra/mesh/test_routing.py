"""A request stays near, leaves when it must, and never waits longer than it may."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.mesh import routing
from tests.kit.cloud import cloud_settings
from tests.kit.schemas import validate

REGIONS = ("eu-central-1", "regionone")


def rule() -> dict[str, Any]:
    policy = routing.traffic_policy(REGIONS)
    return routing.destination_rule("inference", "isthmus-serving", "inference.isthmus-serving.svc", policy)


def test_regions_are_those_of_the_nodes_labels():
    assert routing.regions(cloud_settings()) == REGIONS


def test_each_region_fails_over_to_the_other():
    validate(rule())
    policy = rule()["spec"]["trafficPolicy"]
    assert policy["loadBalancer"]["localityLbSetting"] == {
        "enabled": True,
        "failover": [{"from": "eu-central-1", "to": "regionone"}, {"from": "regionone", "to": "eu-central-1"}],
    }


def test_failover_has_the_outlier_detection_that_it_needs_and_can_eject_a_whole_site():
    found = routing.traffic_policy(REGIONS)["outlierDetection"]
    assert found["consecutive5xxErrors"] > 0
    assert found["maxEjectionPercent"] == 100
    assert found["minHealthPercent"] == 0


def test_one_region_has_nowhere_to_fail_over_to():
    assert routing.locality(("regionone", "regionone")) == {"enabled": True, "failover": []}


def test_a_virtual_service_bounds_each_try_and_the_whole():
    service = routing.virtual_service(
        "models", "isthmus-serving", "models.example.org", "istio-ingress/models", "inference.isthmus-serving.svc", 8080
    )
    validate(service)
    (http,) = service["spec"]["http"]
    assert http["timeout"] == "30s"
    assert http["retries"]["perTryTimeout"] == "10s"
    assert http["retries"]["retryRemoteLocalities"]


def test_retries_can_be_others():
    never = {"attempts": 0}
    service = routing.virtual_service("m", "n", "h.example.org", "g/m", "d", 80, retried=never)
    validate(service)
    assert service["spec"]["http"][0]["retries"] == never


@pytest.mark.parametrize(("seconds", "text"), [(30, "30s"), (0.25, "250ms"), (10 / 3, "3333ms")])
def test_durations_are_istios(seconds, text):
    assert routing.duration(seconds) == text


@given(st.floats(0.001, 86400))
def test_every_duration_is_one_that_istio_reads(seconds):
    assert re.fullmatch(r"\d+(ms|s)", routing.duration(seconds))
