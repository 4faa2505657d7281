"""What a person sees at the end of `up` of a stack with clouds."""

import io

import pytest
from rich.console import Console

from infra.cloud_graph import build_cloud
from infra.operations.summary import show
from tests.kit.cloud import cloud_settings, run

WITHOUT_OCTAVIA = {"sites.1.openstack.door.load_balancer": "none"}


@pytest.mark.parametrize(
    ("changes", "door"),
    [({}, "10.64.0.11"), (WITHOUT_OCTAVIA, "istio-ingress-os-1.istio-ingress.svc (inside the cluster)")],
)
def test_it_says_where_each_door_is(changes, door):
    settings = cloud_settings(**changes)
    console = Console(width=200, record=True, file=io.StringIO())
    show(console, run(lambda: build_cloud(settings, "dev"), "dev", settings).result)
    rows = [line.split(maxsplit=2) for line in console.export_text().splitlines()]
    assert ["door", "os-1", door] in [[word.strip() for word in row] for row in rows]
