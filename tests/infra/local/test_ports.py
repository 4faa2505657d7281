"""The port plan gives every listener a port of its own."""

import socket

import pytest

from infra.local.ports import LAST_OFFSET, MAX_SITES, PortPlan, in_use
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError


@pytest.mark.parametrize("sites", range(1, MAX_SITES + 1))
def test_no_port_is_given_twice_and_all_lie_in_the_block(sites):
    ports = [endpoint.port for endpoint in PortPlan(20000, sites).named().values()]
    assert len(set(ports)) == len(ports)
    assert all(20000 <= port < 20000 + LAST_OFFSET for port in ports)


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
