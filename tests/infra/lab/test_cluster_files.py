"""What the lab's cluster is started with."""

import json
import tomllib
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from tests.kit.cloud import cloud_settings
from tests.kit.schemas import validate_all
from tests.lab.cluster import building, control_plane, networks, node_files, pki, system, wan
from tests.lab.cluster.layout import AWS, OPENSTACK, SPACES, Layout
from tests.lab.cluster.plan import Plan, plan

LAYOUT = Layout(Path("/srv/lab/cluster"))


@cache
def planned() -> Plan:
    return plan(cloud_settings("lab"))


def flags_of(daemon) -> dict[str, str]:
    return dict(part.removeprefix("--").split("=", 1) for part in map(str, daemon.command) if part.startswith("--"))


def test_manifests_fit_the_schemas_of_their_kinds():
    made = [*system.proxy_rights(), *system.names(planned()), system.storage_class()]
    assert validate_all(made) == len(made)


def test_names_are_asked_on_the_port_that_network_policies_open():
    pods = system.names(planned())[-2]["spec"]["template"]
    service = system.names(planned())[-1]["spec"]
    assert pods["metadata"]["labels"] == service["selector"] == {"k8s-app": "kube-dns"}
    assert {port["targetPort"] for port in service["ports"]} == {53}
    assert service["clusterIP"] == "10.96.0.10"


def test_the_api_server_listens_on_the_backbone_and_keeps_secrets_encrypted():
    given = flags_of(control_plane.api_server(LAYOUT, planned().services))
    assert given["bind-address"] == "10.30.0.2"
    assert given["encryption-provider-config"].startswith(str(LAYOUT.pki))
    assert given["feature-gates"] == "MutatingAdmissionPolicy=true"
    assert not [name for name in given if name.startswith("audit")]
    known = json.loads(control_plane.encryption(bytes(32)))
    assert known["resources"][0]["resources"] == ["secrets"]
    assert [*known["resources"][0]["providers"][0]] == ["secretbox"]


def test_nothing_of_the_control_plane_listens_on_the_hosts_own_network():
    parts = (control_plane.etcd(LAYOUT), control_plane.api_server(LAYOUT, planned().services))
    for daemon in (*parts, *control_plane.managers(LAYOUT)):
        assert daemon.command[:2] == ["nsenter", "--net=/run/netns/isthmus-control"]


@pytest.mark.parametrize("name", ["aws-gpu-0", "os-gpu-0"])
def test_a_nodes_document_says_who_and_how_large_it_is(name):
    node = planned().node(name)
    document = json.loads(json.dumps(node_files.document(LAYOUT, planned(), node)))
    kubelet = json.loads(next(text for path, text in document["files"].items() if path.endswith("kubelet.json")))
    assert kubelet["cgroupRoot"] == f"/isthmus-lab/{name}"
    assert kubelet["registerWithTaints"] == (
        [] if name == "aws-gpu-0" else [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    )
    assert document["cpus"] == node.cpus
    assert f"MemTotal:       {node.memory_gib << 20} kB" in document["shown"]["/proc/meminfo"]
    labels = next(part for part in document["services"][0]["command"] if part.startswith("--node-labels="))
    assert f"topology.kubernetes.io/zone={node.labels['topology.kubernetes.io/zone']}" in labels


def test_containers_configuration_is_toml_and_knows_where_pods_networks_are():
    cri = tomllib.loads(node_files.containerd("/etc/pods"))["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["cni"] == {"bin_dir": "/usr/lib/cni", "conf_dir": "/etc/pods"}
    assert cri["sandbox_image"] == "localhost/pause:1"


def test_pods_have_wires_of_their_own_within_the_tunnels_mtu():
    (wire,) = node_files.pod_network(planned(), planned().node("os-gpu-0"))["plugins"]
    assert (wire["type"], wire["mtu"], wire["ipMasq"]) == ("ptp", planned().pod_mtu, False)


def test_openstacks_site_has_no_way_out_but_the_link():
    commands = [*networks.backbone(planned()), *networks.wan_ends(planned())]
    inside = [command for command in commands if command[:3] == ("ip", "-netns", OPENSTACK)]
    assert ("ip", "-netns", OPENSTACK, "route", "add", "default", "via", "10.30.1.1") in inside
    assert [command for command in inside if "route" in command] == inside[-1:]
    assert not [command for command in inside if "veth" in command]


def test_routes_that_are_in_the_way_are_told():
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.10.3.0/24", "dev": "docker0"},
        {"dst": "10.9.0.0/16", "dev": "vpn"},
        {"dst": "10.30.0.7", "type": "blackhole"},
    ]
    wanted = [IPv4Network("10.10.0.0/16"), IPv4Network("10.30.0.0/24")]
    assert networks.overlapping(routes, wanted) == ["10.10.3.0/24 by docker0", "10.30.0.7/32 by blackhole"]


def test_every_network_namespace_that_is_made_is_known_to_be_taken_away():
    made = {command[3] for command in networks.backbone(planned()) if command[:3] == ("ip", "netns", "add")}
    assert made == set(SPACES) == {AWS, OPENSTACK, "isthmus-control", *(node.namespace for node in planned().nodes)}


def test_an_outage_drops_both_what_comes_and_what_goes():
    rules = wan.outage()
    assert 'iifname "wan0" drop' in rules
    assert 'oifname "wan0" drop' in rules
    assert wan.mending().splitlines()[-1] == "delete table inet isthmus-outage"


def test_the_link_has_the_stacks_rate_and_half_its_round_trip_each_way():
    command = wan.daemon(LAYOUT, planned()).command
    assert command[-6:-1] == (AWS, OPENSTACK, "100000000", "15000000", "200000000")


def test_certificates_say_who_each_part_is(tmp_path):
    layout = Layout(tmp_path / "cluster")
    pki.make(layout, planned())
    node = x509.load_pem_x509_certificate((layout.pki / "os-gpu-0.crt").read_bytes())
    assert node.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "system:node:os-gpu-0"
    assert node.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"
    assert node.not_valid_before_utc < datetime.now(UTC) < node.not_valid_after_utc
    server = x509.load_pem_x509_certificate((layout.pki / "apiserver.crt").read_bytes())
    names = server.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert {"10.30.0.2", "10.96.0.1"} == {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    for path in (layout.kubeconfig, *layout.pki.glob("*.key"), *layout.pki.glob("*.kubeconfig")):
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_kubernetes_is_built_at_the_version_that_its_module_pins():
    pinned = (building.KUBE.folder / "go.mod").read_text(encoding="utf-8")
    assert f"k8s.io/kubernetes v{building.KUBERNETES}\n" in pinned
    assert f"-X k8s.io/component-base/version.gitVersion=v{building.KUBERNETES}" in " ".join(building.KUBE.flags)
