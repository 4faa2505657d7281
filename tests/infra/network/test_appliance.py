"""What the gateway is made of: both ends agree, ways in are few, and no key is in a file."""

import json
import re
import shutil
import subprocess
from base64 import b64encode
from dataclasses import replace
from ipaddress import IPv4Network
from string import Template

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.addressing import address_plan
from infra.network.appliance import Appliance, files, user_data
from infra.network.appliance.render import USER_DATA_LIMIT
from infra.network.tunnels import DPD_S, ESP_LIFETIME_S, GCM, IKE_LIFETIME_S
from infra.storage import barbican
from tests.kit.cloud import cloud_settings

PATIENT = settings(deadline=None)  # a timing is no assertion
PLAN = address_plan(cloud_settings())
APPLIANCE = Appliance(
    addresses=PLAN,
    floating_ip="192.0.2.20",
    outside=("203.0.113.11", "203.0.113.12"),
    identity_url="https://identity.example.org/v3",
    credential_id="credential",
    credential_secret="secret-of-credential",  # noqa: S106 - no secret
    secret_refs=("https://keys.example.org/v1/secrets/1", "https://keys.example.org/v1/secrets/2"),
    admin_networks=(IPv4Network("198.51.100.0/24"),),
)
FILES = files(APPLIANCE)


def sections(text):
    """A strongSwan file as nested mappings."""
    root = {}
    stack = [root]
    for line in (line.strip() for line in text.splitlines()):
        if line.endswith("{"):
            stack[-1][line[:-1].strip()] = inner = {}
            stack.append(inner)
        elif line == "}":
            stack.pop()
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            stack[-1][key.strip()] = value.strip()
    assert stack == [root], "a brace is missing"
    return root


def test_cloud_init_gets_a_document_that_fits():
    text = user_data(APPLIANCE)
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert {"charon-systemd", "strongswan-swanctl", "frr", "nftables", "unattended-upgrades"} <= set(
        document["packages"]
    )
    assert document["ssh_pwauth"] is False
    assert {file["path"] for file in document["write_files"]} == set(FILES)
    assert len(b64encode(text.encode())) < USER_DATA_LIMIT


def test_files_are_written_after_the_packages_whose_users_own_them():
    written = {file["path"]: file for file in yaml.safe_load(user_data(APPLIANCE))["write_files"]}
    assert all(file["defer"] for file in written.values())
    assert written["/etc/frr/frr.conf"]["owner"] == "frr:frr"
    assert written["/etc/isthmus/keys.json"]["permissions"] == "0600"
    assert written["/usr/local/lib/isthmus/health.py"]["permissions"] == "0755"


def test_every_service_of_ours_is_enabled_and_the_filter_stands_first():
    commands = yaml.safe_load(user_data(APPLIANCE))["runcmd"]
    units = {re.search(r"system/([\w-]+)\.service$", path)[1] for path in FILES if path.endswith(".service")}
    enabled = next(command for command in commands if command[:2] == ["systemctl", "enable"])
    assert units <= set(enabled)
    restarts = [command for command in commands if command[:2] == ["systemctl", "restart"]]
    assert restarts[0][2] == "nftables"
    assert units <= {unit for command in restarts for unit in command}


def test_the_secret_of_the_credential_is_in_one_file_and_in_no_picture_of_the_object():
    assert [path for path, text in FILES.items() if "secret-of-credential" in text] == ["/etc/isthmus/keys.json"]
    assert "secret-of-credential" not in repr(APPLIANCE)


@pytest.mark.parametrize("tunnel", [1, 2])
def test_the_gateway_proposes_what_aws_admits(tunnel):
    connection = sections(FILES["/etc/swanctl/conf.d/isthmus.conf"])["connections"][f"aws-{tunnel}"]
    child = connection["children"][f"aws-{tunnel}"]
    assert GCM.encryption == "AES256-GCM-16"
    names = {20: "ecp384", 21: "ecp521"}
    hashes = {name.replace("SHA2-", "prfsha") for name in GCM.integrity}
    for proposal in connection["proposals"].split(","):
        cipher, prf, group = proposal.split("-")
        assert (cipher, prf in hashes, group in {names[g] for g in GCM.groups}) == ("aes256gcm16", True, True)
    for proposal in child["esp_proposals"].split(","):
        assert proposal.split("-")[0] == "aes256gcm16"
        assert proposal.split("-")[1] in {names[g] for g in GCM.groups}
    assert connection["version"] == "2"
    assert int(connection["rekey_time"].rstrip("s")) < IKE_LIFETIME_S
    assert int(child["rekey_time"].rstrip("s")) < ESP_LIFETIME_S


@pytest.mark.parametrize("tunnel", [1, 2])
def test_a_tunnel_is_an_interface_that_routes_choose(tunnel):
    connection = sections(FILES["/etc/swanctl/conf.d/isthmus.conf"])["connections"][f"aws-{tunnel}"]
    child = connection["children"][f"aws-{tunnel}"]
    assert (connection["local"]["id"], connection["remote"]["id"]) == ("192.0.2.20", f"203.0.113.{10 + tunnel}")
    assert connection["encap"] == "yes", "a floating IP is NAT"
    assert (child["local_ts"], child["remote_ts"]) == ("0.0.0.0/0", "0.0.0.0/0")
    assert child["if_id_in"] == child["if_id_out"] == str(tunnel)
    assert (child["start_action"], child["dpd_action"], child["close_action"]) == ("start", "restart", "start")
    unit = FILES["/etc/systemd/system/isthmus-tunnels.service"]
    assert f"ip link add tunnel{tunnel} type xfrm dev lo if_id {tunnel}\n" in unit
    assert f"ip address add 169.254.100.{4 * tunnel - 2}/30 dev tunnel{tunnel}\n" in unit
    assert f"ip link set tunnel{tunnel} mtu {PLAN.tunnel_mtu} up\n" in unit
    assert sections(FILES["/etc/strongswan.d/isthmus.conf"])["charon-systemd"]["install_routes"] == "no"


def test_a_peer_that_is_dead_is_known_about_when_aws_would_know():
    values = {
        key: float(value)
        for key, value in sections(FILES["/etc/strongswan.d/isthmus.conf"])["charon-systemd"].items()
        if key.startswith("retransmit")
    }
    waits = [
        values["retransmit_timeout"] * values["retransmit_base"] ** retry
        for retry in range(int(values["retransmit_tries"]) + 1)
    ]
    connection = sections(FILES["/etc/swanctl/conf.d/isthmus.conf"])["connections"]["aws-1"]
    assert 20 < sum(waits) + float(connection["dpd_delay"].rstrip("s")) < DPD_S * 1.1


def test_each_key_is_for_both_ends_of_its_tunnel():
    asked = json.loads(FILES["/etc/isthmus/keys.json"])
    assert asked["secrets"] == dict(zip(("tunnel1", "tunnel2"), APPLIANCE.secret_refs, strict=True))
    written = sections(Template(asked["template"]).substitute(tunnel1="first.key", tunnel2="second.key"))["secrets"]
    assert written == {
        "ike-aws-1": {"id-1": "192.0.2.20", "id-2": "203.0.113.11", "secret": '"first.key"'},
        "ike-aws-2": {"id-1": "192.0.2.20", "id-2": "203.0.113.12", "secret": '"second.key"'},
    }
    assert asked["kind"]["name"] == "pre-shared key"


def test_keys_come_from_memory_before_strongswan_starts():
    assert "include /run/isthmus-keys/*.conf" in FILES["/etc/swanctl/conf.d/isthmus.conf"]
    assert "/run/isthmus-keys/*.conf r," in FILES["/etc/apparmor.d/local/usr.sbin.swanctl"]
    unit = FILES["/etc/systemd/system/isthmus-keys.service"]
    program = re.search(
        r"^ExecStart=/usr/bin/python3 -I (\S+) /etc/isthmus/keys.json /run/isthmus-keys/keys.conf$", unit, re.MULTILINE
    )
    assert FILES[program[1]] == barbican.script()
    assert "Restart=on-failure" in unit
    assert "RuntimeDirectoryMode=0700" in unit
    assert "Requires=isthmus-keys.service" in FILES["/etc/systemd/system/strongswan.service.d/isthmus.conf"]


def test_bgp_speaks_over_both_tunnels_at_once():
    lines = [line.strip() for line in FILES["/etc/frr/frr.conf"].splitlines()]
    assert "router bgp 64513" in lines
    for peer in ("169.254.100.1", "169.254.100.5"):
        assert f"neighbor {peer} remote-as 64512" in lines
        assert f"neighbor {peer} prefix-list from-aws in" in lines
        assert f"neighbor {peer} prefix-list to-aws out" in lines
    assert "maximum-paths 2" in lines
    assert "timers bgp 10 30" in lines
    assert "bgp graceful-restart-disable" in lines, "stale routes would lead into a tunnel that is lost"
    assert not any("bfd" in line for line in lines if not line.startswith("!"))
    assert "bgpd=yes" in FILES["/etc/frr/daemons"]


def test_only_our_own_networks_are_told_and_only_the_vpc_is_believed():
    text = FILES["/etc/frr/frr.conf"]
    told = set(re.findall(r"^ip prefix-list to-aws seq \d+ permit (\S+)$", text, re.MULTILINE))
    assert told == {str(PLAN.openstack.nodes), str(PLAN.openstack.pods)}
    assert set(re.findall(r"^  network (\S+)$", text, re.MULTILINE)) == told
    assert re.findall(r"^ip prefix-list from-aws seq \d+ permit (.+)$", text, re.MULTILINE) == ["10.0.0.0/16 le 28"]
    assert re.findall(r"^ip prefix-list from-nodes seq \d+ permit (.+)$", text, re.MULTILINE) == [
        "10.64.128.0/17 ge 25"
    ]


def test_nodes_tell_their_pods_and_are_told_nothing():
    text = FILES["/etc/frr/frr.conf"]
    assert f"bgp listen range {PLAN.openstack.nodes} peer-group nodes" in text
    assert "neighbor nodes remote-as 64513" in text
    assert "neighbor nodes prefix-list nothing out" in text
    assert f"ip route {PLAN.openstack.pods} blackhole 250" in text


def accepted(chain):
    text = FILES["/etc/nftables.conf"]
    body = re.search(rf"chain {chain} \{{(.*?)\n  \}}", text, re.DOTALL)[1]
    return [line.strip() for line in body.splitlines() if line.strip().endswith("accept")]


def test_the_filter_drops_what_it_does_not_know():
    text = FILES["/etc/nftables.conf"]
    assert re.findall(r"hook (\w+) priority filter; policy (\w+);", text) == [
        ("input", "drop"),
        ("forward", "drop"),
        ("output", "accept"),
    ]
    ports = [line for line in accepted("input") if "dport" in line]
    assert all("ip saddr" in line for line in ports if "udp sport 67" not in line), "a port is open to the world"
    assert [line for line in ports if "22" in line.split("dport")[1]] == [
        "ip saddr { 198.51.100.0/24 } tcp dport { 22, 8081 } accept"
    ]


def test_it_forwards_between_the_sites_alone_and_clamps_both_ways():
    assert len(accepted("forward")) == 4
    assert all("10.0.0.0/16" in line and "10.64.0.0/18, 10.64.128.0/17" in line for line in accepted("forward"))
    chain = FILES["/etc/nftables.conf"].partition("chain forward")[2]
    clamp = f"tcp flags syn tcp option maxseg size set {PLAN.mss}"
    assert chain.index(clamp) < chain.index(" accept"), "what is accepted first is never clamped"
    assert PLAN.mss == PLAN.tunnel_mtu - 40


def test_without_administrators_no_rule_names_ssh():
    text = files(replace(APPLIANCE, admin_networks=()))["/etc/nftables.conf"]
    assert not re.search(r"dport.*\b22\b", text)


def test_none_but_root_asks_the_metadata_service():
    assert "ip daddr 169.254.169.254 meta skuid != 0 drop" in FILES["/etc/nftables.conf"]


@PATIENT
@given(st.lists(st.integers(8, 32), min_size=1, max_size=5))
def test_administrators_networks_that_overlap_are_told_once(prefixes):
    admins = tuple(IPv4Network(("198.51.100.0", prefix), strict=False) for prefix in prefixes)
    text = files(replace(APPLIANCE, admin_networks=admins))["/etc/nftables.conf"]
    assert (
        f"ip saddr {{ {min(admins, key=lambda network: network.prefixlen)} }} tcp dport {{ 22, 8081 }} accept" in text
    )


def test_packages_are_kept_up_to_date():
    assert 'Unattended-Upgrade "1"' in FILES["/etc/apt/apt.conf.d/52isthmus"]


@pytest.mark.skipif(shutil.which("nft") is None, reason="nftables is not installed")
def test_nftables_takes_its_file(tmp_path):
    path = tmp_path / "nftables.conf"
    path.write_text(FILES["/etc/nftables.conf"], encoding="utf-8")
    done = subprocess.run(["nft", "-c", "-f", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("vtysh") is None, reason="FRR is not installed")
def test_frr_takes_its_file(tmp_path):
    path = tmp_path / "frr.conf"
    path.write_text(FILES["/etc/frr/frr.conf"], encoding="utf-8")
    done = subprocess.run(
        ["vtysh", "-C", "--config_dir", tmp_path, "-f", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
