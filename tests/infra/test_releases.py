"""Charts come at pinned versions, whole or not at all."""

import re

import pytest

from infra.releases import CHARTS, TIMEOUT_S, release
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import declare


@pytest.mark.parametrize("chart", CHARTS.values(), ids=lambda chart: chart.name)
def test_every_chart_has_one_version_and_one_source(chart):
    assert re.fullmatch(r"v?\d+\.\d+\.\d+(-\d+)?", chart.version)
    assert chart.chart.startswith("oci://") == (chart.repository is None)
    assert chart.repository is None or chart.repository.startswith("https://")


def test_release_names_are_their_own():
    assert len({chart.name for chart in CHARTS.values()}) == len(CHARTS)


def test_a_release_is_atomic_and_waits_for_its_nodes():
    program = declare(lambda scope: release(fakes.inside(scope), CHARTS["keda"], {"replicas": 2}).name)
    inputs = program.one("kubernetes:helm.sh/v3:Release").inputs
    assert inputs["atomic"]
    assert inputs["cleanupOnFail"]
    assert inputs["timeout"] == TIMEOUT_S
    assert inputs["version"] == CHARTS["keda"].version
    assert inputs["repositoryOpts"] == {"repo": "https://kedacore.github.io/charts"}
    assert inputs["values"] == {"replicas": 2}


def test_a_chart_of_a_registry_needs_no_repository():
    program = declare(lambda scope: release(fakes.inside(scope), CHARTS["kueue"], {}).name)
    assert "repositoryOpts" not in program.one("kubernetes:helm.sh/v3:Release").inputs
