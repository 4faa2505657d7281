"""The address plan: nothing overlaps, what exists never moves, and each refusal says what to write instead."""

import re
from ipaddress import IPv4Network
from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infra.address_ranges import RESERVED, free_range
from infra.addressing import MOST_ZONES, RESERVED_TUNNELS, AddressPlan, address_plan, esp_cbc, esp_in_udp
from infra.fields import PRIVATE_NETWORKS
from tests.kit.cloud import cloud_settings
from workloads.spec.errors import UserError

PATIENT = settings(deadline=None)  # a timing is no assertion
PATHS = {
    "site aws-1: supernet": "sites.0.aws.supernet",
    "site os-1: supernet": "sites.1.openstack.supernet",
    "cloud: services": "cloud.services",
}
SETTINGS = cloud_settings()


def planned(**changes: Any) -> AddressPlan:
    """The plan of the dev stack with dotted keys changed; parsed from its values alone, for a thousand examples."""
    document = SETTINGS.model_dump(mode="json")
    for path, value in changes.items():
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        node: Any = document
        for part in parents:
            node = node[part]
        node[last] = value
    for link in document["links"]:
        link["rate"] = f"{link['rate']} Mbit/s"
    return address_plan(type(SETTINGS).parse(document, "stack dev"))


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        planned(**changes)
    text = str(caught.value)
    assert "\n" not in text
    return text


@st.composite
def private_networks(draw: st.DrawFn, least: int = 8, most: int = 26) -> IPv4Network:
    pool = draw(st.sampled_from(PRIVATE_NETWORKS))
    prefix = draw(st.integers(max(least, pool.prefixlen), max(most, pool.prefixlen)))
    start = draw(st.integers(int(pool.network_address), int(pool.broadcast_address)))
    return IPv4Network((start >> (32 - prefix) << (32 - prefix), prefix))


ADDRESSES = st.fixed_dictionaries({path: private_networks().map(str) for path in PATHS.values()})


def test_the_plan_of_the_dev_stack():
    plan = planned()
    assert [str(network) for network in plan.aws.private] == ["10.0.0.0/19", "10.0.32.0/19"]
    assert [str(network) for network in plan.aws.public] == ["10.0.192.0/22", "10.0.196.0/22"]
    assert [str(network) for network in plan.aws.intra] == ["10.0.224.0/22", "10.0.228.0/22"]
    assert (str(plan.openstack.nodes), str(plan.openstack.pods)) == ("10.64.0.0/18", "10.64.128.0/17")
    assert (str(plan.openstack.router), str(plan.openstack.gateway)) == ("10.64.0.1", "10.64.0.10")
    assert [str(address) for address in plan.openstack.dhcp] == ["10.64.0.16", "10.64.63.254"]
    assert [(str(tunnel.aws), str(tunnel.gateway)) for tunnel in plan.tunnels] == [
        ("169.254.100.1", "169.254.100.2"),
        ("169.254.100.5", "169.254.100.6"),
    ]


@PATIENT
@given(
    vpc=private_networks(16, 21),
    project=private_networks(12, 22),
    services=private_networks(12, 24),
    zones=st.integers(2, 6),
)
def test_networks_lie_in_their_supernet_and_no_two_overlap(vpc, project, services, zones):
    assume(not any(a.overlaps(b) for a, b in combinations((vpc, project, services, *RESERVED), 2)))
    paths = dict(zip(PATHS.values(), map(str, (vpc, project, services)), strict=True))
    plan = planned(**paths, **{"sites.0.aws.zones": zones})
    assert not any(a.overlaps(b) for a, b in combinations(plan.networks.values(), 2))
    assert all(network.subnet_of(vpc) for name, network in plan.networks.items() if name.startswith("aws"))
    assert plan.openstack.nodes.subnet_of(project)
    assert plan.openstack.pods.subnet_of(project)
    assert plan.openstack.gateway in plan.openstack.nodes
    assert not plan.openstack.dhcp[0] <= plan.openstack.gateway <= plan.openstack.dhcp[1]
    assert all(network.prefixlen <= 27 for network in plan.aws.public), "a load balancer would not fit"
    assert min(plan.aws.private[0].num_addresses, plan.aws.private[-1].num_addresses) > plan.aws.public[0].num_addresses


@PATIENT
@given(private_networks(16, 21), st.integers(2, 5))
def test_a_further_zone_moves_nothing(vpc, zones):
    assume(
        not any(vpc.overlaps(other) for other in (IPv4Network("10.64.0.0/16"), IPv4Network("172.20.0.0/16"), *RESERVED))
    )
    before = planned(**{"sites.0.aws.supernet": str(vpc), "sites.0.aws.zones": zones})
    after = planned(**{"sites.0.aws.supernet": str(vpc), "sites.0.aws.zones": zones + 1})
    assert {name: after.networks[name] for name in before.networks} == before.networks
    assert len(after.networks) == len(before.networks) + 3


@PATIENT
@given(ADDRESSES, st.lists(private_networks(12, 24).map(str), max_size=3))
def test_following_the_remedies_leads_to_a_plan(changes, beside):
    """Whatever is wrong with however many ranges: each refusal offers one that is free, and offers end."""
    changes = {**changes, "cloud.recovery.beside": beside}
    for _ in range(8):
        try:
            plan = planned(**changes)
        except UserError as error:
            # what the recovery keeps free is not this stack's to move
            name, offered = re.fullmatch(
                r"(.+?) [\d./]+ .*; pick ([\d./]+)(?:, or ask for fewer)?", str(error)
            ).groups()
            changes[PATHS[name]] = offered
        else:
            assert not any(IPv4Network(kept).overlaps(network) for kept in beside for network in plan.networks.values())
            return
    pytest.fail(f"no plan after eight remedies: {changes}")


def test_an_overlap_names_both_and_offers_a_free_range():
    text = refusal(**{"sites.1.openstack.supernet": "10.0.128.0/17"})
    assert text == "site os-1: supernet 10.0.128.0/17 overlaps site aws-1: supernet 10.0.0.0/16; pick 10.1.0.0/17"


def test_room_is_left_for_the_recovery_beside_it():
    text = refusal(**{"cloud.recovery.beside": ["10.64.0.0/14"]})
    assert text.startswith("site os-1: supernet 10.64.0.0/16 overlaps recovery: beside 10.64.0.0/14; pick 10.1.0.0/16")


def test_when_nothing_is_free_the_widest_range_is_named():
    text = refusal(**{"cloud.recovery.beside": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]})
    assert text.endswith("nothing of /21 is left in RFC 1918; make 10.0.0.0/8 smaller")


def test_reserved_ranges_are_refused():
    assert "Docker" in refusal(**{"cloud.services": "172.17.128.0/17"})
    for network in ("169.254.0.0/17", "100.64.0.0/16", "8.8.0.0/16"):
        assert "outside RFC 1918" in refusal(**{"sites.0.aws.supernet": network})


@pytest.mark.parametrize(
    ("path", "network", "limit", "remedy"),
    [
        ("sites.0.aws.supernet", "10.0.0.0/15", "/16 to /21", "10.0.0.0/16"),
        ("sites.0.aws.supernet", "10.0.0.0/24", "/16 to /21", "10.0.0.0/21"),
        ("sites.1.openstack.supernet", "10.64.0.0/23", "/12 to /22", "10.1.0.0/22"),
        ("cloud.services", "172.20.0.0/25", "/12 to /24", "10.1.0.0/24"),
    ],
)
def test_a_size_that_a_cloud_does_not_take_is_refused(path, network, limit, remedy):
    text = refusal(**{path: network})
    assert network in text
    assert limit in text
    assert text.endswith(f"pick {remedy}")


def test_equal_as_numbers_are_refused_with_another():
    text = refusal(**{"sites.0.aws.asn": 65534, "sites.1.openstack.asn": 65534})
    assert "65534" in text
    assert text.endswith("set asn: 65533 at os-1")
    assert planned(**{"sites.0.aws.asn": 65534, "sites.1.openstack.asn": 65533}).openstack.asn == 65533


def test_more_zones_than_room_was_kept_for_are_refused():
    assert len(planned(**{"sites.0.aws.zones": MOST_ZONES}).aws.private) == MOST_ZONES
    assert str(MOST_ZONES) in refusal(**{"sites.0.aws.zones": MOST_ZONES + 1})


def test_more_servers_than_pod_blocks_are_refused_with_a_range_that_holds_them():
    changes = {"sites.1.openstack.supernet": "10.64.0.0/22", "sites.1.openstack.gpu_servers.0.count": 5}
    text = refusal(**changes)
    assert "holds 4 servers" in text
    assert text.endswith("pick 10.1.0.0/21, or ask for fewer")
    offered = text.partition("pick ")[2].partition(",")[0]
    assert planned(**{**changes, "sites.1.openstack.supernet": offered}).openstack.pods.prefixlen == 22


def test_tunnels_are_outside_what_aws_keeps():
    assert len(RESERVED_TUNNELS) == 7
    for tunnel in planned().tunnels:
        assert tunnel.inside.prefixlen == 30
        assert tunnel.inside.subnet_of(IPv4Network("169.254.0.0/16"))
        assert not any(tunnel.inside.overlaps(kept) for kept in RESERVED_TUNNELS)


def test_hybrid_ranges_are_private_and_fewer_than_fifteen():
    plan = planned()
    for network in (plan.openstack.nodes, plan.openstack.pods):
        assert any(network.subnet_of(private) for private in PRIVATE_NETWORKS)
        assert not network.overlaps(plan.aws.vpc)
        assert not network.overlaps(plan.services)


@pytest.mark.parametrize(("outer", "gcm", "cbc"), [(1500, 1438, 1422), (1450, 1386, 1358), (1442, 1378, 1358)])
def test_what_fits_inside_the_tunnel_follows_from_the_network_around_it(outer, gcm, cbc):
    """1438 and 1422 are the figures of AWS's table for AES-GCM with NAT and for SHA2-512."""
    assert (esp_in_udp(outer), esp_cbc(outer)) == (gcm, cbc)
    plan = planned(**{"sites.1.openstack.mtu": outer})
    assert (plan.tunnel_mtu, plan.pod_mtu, plan.mss) == (gcm, gcm - 50, gcm - 40)


def test_jumbo_frames_do_not_widen_the_tunnel():
    plan = planned(**{"sites.1.openstack.mtu": 9000})
    assert (plan.tunnel_mtu, plan.pod_mtu) == (1446, 1396)


@PATIENT
@given(st.lists(private_networks(8, 18), max_size=8), st.integers(8, 18))
def test_a_free_range_is_free_and_none_is_said_only_when_there_is_none(taken, prefix):
    found = free_range(prefix, taken, PRIVATE_NETWORKS)
    blocked = [*taken, *RESERVED]
    if found is not None:
        assert not any(found.overlaps(network) for network in blocked)
        assert found.prefixlen == prefix
    else:
        candidates = (c for p in PRIVATE_NETWORKS if p.prefixlen <= prefix for c in p.subnets(new_prefix=prefix))
        assert all(any(c.overlaps(network) for network in blocked) for c in candidates)
