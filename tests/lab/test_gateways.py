"""The gateway as its document makes it, and a stand-in for AWS's ends, in namespaces of this machine."""

import pytest

from infra.settings import ROOT
from tests.kit.cloud import cloud_settings
from tests.lab.gateways import Lab, UnavailableError, look_around
from tests.lab.gateways.filters import counters

pytestmark = pytest.mark.gateways
CONNECTIONS = 16  # so many that both tunnels have some of them

try:
    look_around()
except UnavailableError as known:
    pytest.skip(str(known), allow_module_level=True)


@pytest.fixture(scope="module")
def standing():
    try:
        with Lab(cloud_settings(), ROOT / ".state/lab/gateways") as lab:
            yield lab
    except UnavailableError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def lab(standing):
    standing.settle()
    return standing


def test_cloud_init_takes_the_document_by_its_own_schema(lab):
    said = lab.gateway.machine.run("cloud-init", "schema", "--config-file", lab.state / "sides/user-data")
    assert "Valid" in said.stdout
    assert "deprecated" not in (said.stdout + said.stderr).lower()


def test_nftables_and_frr_take_their_files_and_no_others(lab):
    machine = lab.gateway.machine
    machine.run("nft", "-c", "-f", "/etc/nftables.conf")
    machine.run("vtysh", "-C", "-f", "/etc/frr/frr.conf")
    wrong = lab.state / "sides/wrong.conf"
    wrong.write_text("router bgp 64513\n maximum-pathz 2\n", encoding="utf-8")
    assert machine.run("vtysh", "-C", "-f", wrong, check=False).returncode != 0


def test_both_tunnels_stand_with_the_suite_and_keys_that_were_fetched(lab):
    for tunnel in lab.appliance.tunnels:
        number = tunnel["if_id"]
        said = lab.gateway.swanctl(number, "--list-sas")
        lab.journal.say("gateway", said)
        assert f"local  '192.0.2.20' @ {lab.plan.openstack.gateway}[4500]" in said
        assert f"remote '{tunnel['outside']}' @ {tunnel['outside']}[4500]" in said
        assert "AES_GCM_16-256/PRF_HMAC_SHA2_" in said
        assert "INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-256" in said
        assert lab.gateway.machine.run("stat", "-c", "%a", "/run/isthmus-keys/keys.conf").stdout == "600\n"


def test_bgp_tells_the_planned_networks_and_no_others_over_each_tunnel(lab):
    plan = lab.plan
    lab.journal.say("gateway", lab.gateway.machine.run("vtysh", "-c", "show bgp ipv4 unicast").stdout)
    for tunnel in lab.appliance.tunnels:
        assert lab.gateway.told(tunnel["aws"]) == {str(plan.aws.vpc)}
        assert lab.aws.told(tunnel["gateway"]) == {str(plan.openstack.nodes), str(plan.openstack.pods)}
    assert lab.gateway.told(lab.node_address) == {str(lab.pods)}


def test_a_packet_of_the_planned_mtu_passes_and_a_larger_one_is_told_the_mtu(lab):
    mtu = lab.plan.tunnel_mtu
    before, made = counters(lab.outside), sum(map(lab.fragments, (*lab.gateway.ends, *lab.aws.ends)))
    assert lab.ping(lab.node, lab.host_address, mtu).returncode == 0
    assert lab.ping(lab.host, lab.node_address, mtu).returncode == 0
    refused = lab.ping(lab.node, lab.host_address, mtu + 1)
    assert refused.returncode != 0
    assert f"mtu = {mtu}" in refused.stdout + refused.stderr or f"mtu={mtu}" in refused.stdout + refused.stderr
    after = counters(lab.outside)
    assert after["largest"] - before["largest"] == 4, "there and back, twice"
    assert after["larger"] == before["larger"]
    assert sum(map(lab.fragments, (*lab.gateway.ends, *lab.aws.ends))) == made


def test_the_planned_mtu_is_the_most_that_travels_whole(lab):
    """A tunnel that takes a byte more breaks its packets up."""
    mtu, hops = lab.plan.tunnel_mtu, [tunnel["interface"] for tunnel in lab.appliance.tunnels]
    made = sum(map(lab.fragments, lab.gateway.ends))
    try:
        for hop in hops:
            lab.gateway.machine.ip("link", "set", hop, "mtu", str(mtu + 1))
        lab.ping(lab.gateway.machine, lab.appliance.tunnels[0]["aws"], mtu + 1)
        assert sum(map(lab.fragments, lab.gateway.ends)) > made
    finally:
        for hop in hops:
            lab.gateway.machine.ip("link", "set", hop, "mtu", str(mtu))


def test_tcp_is_clamped_both_ways(lab):
    before = [counters(end) for end in (lab.node, lab.host)]
    with lab.connections(1) as connections:
        connections.go_on(20)
    for end, then in zip((lab.node, lab.host), before, strict=True):
        now = counters(end)
        assert now["clamped"] > then["clamped"]
        assert now["not_clamped"] == then["not_clamped"] == 0


def test_pods_are_reached_where_a_node_tells_them_and_others_are_not_sent_round(lab):
    assert lab.ping(lab.host, lab.pod_address, lab.plan.pod_mtu).returncode == 0
    nobody = lab.ping(lab.host, str(lab.plan.openstack.pods[-2]), 100)
    assert nobody.returncode != 0
    assert "Time to live exceeded" not in nobody.stdout


def test_the_gateway_says_that_both_tunnels_work(lab):
    said = lab.health()
    assert (said["healthy"], said["degraded"], said["stale"]) == (True, False, False)
    assert {row["bgp"] for row in said["tunnels"].values()} == {"Established"}
    assert all(row["ipsec"] and row["prefixes"] == 1 for row in said["tunnels"].values())


def test_an_association_that_is_ended_comes_again_by_itself_and_connections_go_on(lab):
    ended = lab.gateway.association(1)
    with lab.connections(CONNECTIONS) as connections:
        lab.gateway.swanctl(1, "--terminate", "--ike", "aws-1")
        connections.go_on(60)
        lab.settle()
        assert lab.gateway.association(1) != ended


@pytest.mark.parametrize("tunnel", [1, 2])
def test_connections_outlive_the_loss_of_a_tunnel(lab, tunnel):
    other = lab.appliance.tunnels[2 - tunnel]
    with lab.connections(CONNECTIONS) as connections:
        before = counters(lab.outside)
        lab.journal.until(
            "both tunnels carry connections",
            lambda: all(counters(lab.outside)[name] > before[name] for name in ("data_1", "data_2")),
            20,
        )
        now = counters(lab.outside)
        lab.lose(tunnel)
        try:
            lab.journal.until("packets are lost", lambda: counters(lab.outside)["lost_data"] > now["lost_data"], 20)
            connections.go_on(120)
            lab.journal.until("both ends use the other", lambda: lab.hops() == ({other["aws"]}, {other["gateway"]}), 20)
            said = lab.journal.until("the gateway says that one is lost", lambda: _degraded(lab.health()), 20)
            assert said["healthy"]
            assert said["tunnels"][other["name"]]["bgp"] == "Established"
        finally:
            lab.lose(tunnel, back=True)
        lab.settle(150)
        connections.go_on(20)


def _degraded(said):
    return said if said.get("degraded") else None
