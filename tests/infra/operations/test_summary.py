"""What a person sees at the end of `up` of a stack with clouds."""

import io

import pytest
from rich.console import Console

from infra.operations.summary import show
from tests.kit.cloud import whole


@pytest.mark.parametrize(
    ("stack", "door"), [("dev", "10.64.0.11"), ("lab", "istio-ingress-os-1.istio-ingress.svc (inside the cluster)")]
)
def test_it_says_where_each_door_is(stack, door):
    console = Console(width=200, record=True, file=io.StringIO())
    show(console, whole(stack).result)
    rows = [line.split(maxsplit=2) for line in console.export_text().splitlines()]
    assert ["door", "os-1", door] in [[word.strip() for word in row] for row in rows]
