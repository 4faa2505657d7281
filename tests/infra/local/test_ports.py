"""The port plan gives every listener a port of its own."""

import socket
from itertools import combinations
from pathlib import Path

import pytest

from infra.local.ports import BLOCK, MAX_PARTS, MAX_SITES, PortPlan, in_use
from infra.settings import LinkSettings, LocalSettings, Settings, SiteSettings, TrainingSettings
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError


def stack(*workers: int) -> Settings:
    """A stack of one local site for each number of workers."""
    names = [f"site-{index}" for index in range(len(workers))]
    return Settings(
        sites=tuple(
            SiteSettings(name=name, kind="local", workers=count) for name, count in zip(names, workers, strict=True)
        ),
        links=tuple(LinkSettings(between=pair, rate="1 Gbit/s", rtt_ms=1) for pair in combinations(names, 2)),
        training=TrainingSettings(recipe="iris"),
        local=LocalSettings(folder=Path("local"), base_port=20000),
    )


@pytest.mark.parametrize("workers", [1, 2, 64])
@pytest.mark.parametrize("sites", range(1, MAX_SITES + 1))
def test_no_port_is_given_twice_and_all_lie_in_the_block(sites, workers):
    plan = PortPlan.of(stack(*[workers] * sites))
    ports = [endpoint.port for endpoint in plan.named().values()]
    assert len(set(ports)) == len(ports)
    assert all(20000 <= port < 20000 + plan.size <= 20000 + BLOCK for port in ports)


def test_there_are_ports_for_as_many_parts_as_every_site_can_hold():
    assert PortPlan.of(stack(1, 4)).parts == 1
    assert PortPlan.of(stack(3, 4)).parts == 3
    assert PortPlan.of(stack(64, 64)).parts == MAX_PARTS


def test_many_sites_get_ports_for_fewer_parts():
    assert 1 <= PortPlan.of(stack(*[64] * MAX_SITES)).parts < MAX_PARTS


def test_more_sites_than_fit_are_refused():
    with pytest.raises(UserError, match=f"{MAX_SITES + 1} local sites are more than {MAX_SITES}"):
        PortPlan(20000, MAX_SITES + 1)


def test_a_listener_is_noticed_and_a_free_port_is_not():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert in_use(Endpoint(port=port))
    assert not in_use(Endpoint(port=port))
