"""Services of the local stack, with the real relay as the one that is started."""

import asyncio
import socket

import pytest

from infra.local.handler import Context
from infra.local.handlers.service import LinkHandler, ServiceInputs
from infra.local.supervision import find, listening_ports
from tests.kit.ports import free_ports
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError
from workloads.spec.launch import RelayChannel, RelaySpec

CONTEXT = Context("urn", lambda _: None, lambda _: None)
HANDLER = LinkHandler()


@pytest.fixture
def spec():
    control, listen, target = free_ports(3)
    channel = RelayChannel(
        source="a-1", destination="b-1", listen=listen, target=Endpoint(port=target), purpose="training"
    )
    return RelaySpec(rate_mbps=200, rtt_ms=4, control=control, channels=(channel,))


@pytest.fixture
def links(tmp_path, spec):
    """`links(name)`: inputs of a link of that name, all on the same ports."""
    named = {name: ServiceInputs[RelaySpec](folder=tmp_path / "services" / name, spec=spec) for name in ("old", "new")}
    yield named
    for inputs in named.values():
        asyncio.run(HANDLER.delete(inputs, {}))


def state_of(inputs, outputs):
    return {**inputs.model_dump(mode="json"), **outputs}


def test_a_link_is_measured_when_it_is_made(links, spec):
    outputs = asyncio.run(HANDLER.create(links["old"], CONTEXT))
    assert outputs["status"] == "ok"
    assert 0 < outputs["rate_mbps"] <= 1.1 * spec.rate_mbps
    assert outputs["rtt_ms"] >= spec.rtt_ms
    assert {spec.control, spec.channels[0].listen} <= listening_ports(links["old"].folder)


def test_a_dead_service_is_seen_and_healed_with_the_figures_that_it_had(links):
    inputs = links["old"]
    state = state_of(inputs, asyncio.run(HANDLER.create(inputs, CONTEXT))) | {"rate_mbps": 12.3, "rtt_ms": 4.5}
    process = find(inputs.folder)
    process.kill()
    process.wait()
    seen = asyncio.run(HANDLER.read(inputs, state))
    assert seen == {"status": "stopped"}
    assert HANDLER.difference({**state, **seen}, inputs.model_dump(mode="json")).changed == ("status",)
    healed = asyncio.run(HANDLER.update(inputs, state, CONTEXT))
    assert (healed["rate_mbps"], healed["rtt_ms"], healed["status"]) == (12.3, 4.5, "ok")
    assert find(inputs.folder)


def test_a_service_that_took_another_name_takes_the_ports_over(links):
    asyncio.run(HANDLER.create(links["old"], CONTEXT))
    asyncio.run(HANDLER.create(links["new"], CONTEXT))
    assert find(links["old"].folder) is None
    assert find(links["new"].folder)


def test_a_port_of_somebody_else_s_program_is_named_and_left_alone(links, spec):
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", spec.control))
        stranger.listen()
        with pytest.raises(UserError, match=f"port {spec.control} for new is in use by another program"):
            asyncio.run(HANDLER.create(links["new"], CONTEXT))
    assert find(links["new"].folder) is None


def test_nothing_is_left_after_delete(links):
    asyncio.run(HANDLER.create(links["old"], CONTEXT))
    asyncio.run(HANDLER.delete(links["old"], {}))
    assert not links["old"].folder.exists()
    asyncio.run(HANDLER.delete(links["old"], {}))
