"""The OpenStack half, applied: the real engine, the real Terraform provider behind a bridge, a real control plane.

The program is `tests/lab/openstack_half`. The tests of this module are one story and run in its order.
"""

import json
import urllib.error
import urllib.request
from collections import Counter

import boto3
import pytest

from tests.lab.daemons import met
from tests.lab.half import Half
from tests.lab.openstack import control
from tests.lab.openstack.layout import PROJECT, url

pytestmark = pytest.mark.lab

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG4rT3vTt99Ox5kndS4HmgTrKBT8SKzhK4rhGkEVGlCI lab"
VALUES = (f"sites.1.openstack.ssh_public_key={KEY}",)
RETAGGED = "cloud.cost_center=moved"
ADMITTED = "sites.1.openstack.gateway.admin_networks=[192.0.2.0/24]"
BY_VPNAAS = "sites.1.openstack.vpn=vpnaas"

OF_GATEWAY = {
    "openstack:compute/instance:Instance": 2,
    "openstack:compute/keypair:Keypair": 1,
    "openstack:compute/serverGroup:ServerGroup": 1,
    "openstack:identity/applicationCredential:ApplicationCredential": 2,
    "openstack:identity/ec2CredentialV3:Ec2CredentialV3": 1,
    "openstack:keymanager/secretV1:SecretV1": 4,
    "openstack:loadbalancer/listener:Listener": 1,
    "openstack:loadbalancer/loadBalancer:LoadBalancer": 1,
    "openstack:loadbalancer/member:Member": 1,
    "openstack:loadbalancer/monitor:Monitor": 1,
    "openstack:loadbalancer/pool:Pool": 1,
    "openstack:networking/floatingIp:FloatingIp": 1,
    "openstack:networking/network:Network": 1,
    "openstack:networking/port:Port": 2,
    "openstack:networking/router:Router": 1,
    "openstack:networking/routerInterface:RouterInterface": 1,
    "openstack:networking/routerRoute:RouterRoute": 1,
    "openstack:networking/secGroup:SecGroup": 2,
    "openstack:networking/secGroupRule:SecGroupRule": 10,
    "openstack:networking/subnet:Subnet": 1,
    "openstack:networking/subnetRoute:SubnetRoute": 1,
    "openstack:objectstorage/container:Container": 1,
}
SERVERS = ["isthmus-lab-os-1-gateway", "isthmus-lab-os-1-l4-0"]


@pytest.fixture(scope="module")
def stack(cloud, lab_home, tmp_path_factory):
    made = Half(tmp_path_factory.mktemp("half"), lab_home, cloud.clouds)
    made.configure(*VALUES)
    return made


def census(cloud):
    return json.loads(control.ask(cloud, "census"))


def succeeded(done):
    assert done.status == 0, done.text
    return done


def changes(stack):
    """What an `up` would do, by kind of step."""
    preview = succeeded(stack.preview())
    assert "warning" not in preview.text
    return preview.steps()


def by_kind(steps):
    """Types by what happens to them; a replacement shows as its whole, not as its parts."""
    kinds = {step["urn"]: step["op"] for step in steps if step["op"] in {"create", "update", "delete", "replace"}}
    return Counter((op, urn.split("::")[2].rpartition("$")[2]) for urn, op in kinds.items())


def resource(stack, kind, name):
    (found,) = [r for r in stack.resources() if r["type"].endswith(f":{kind}") and r["urn"].endswith(f"::{name}")]
    return found


def test_up_makes_the_half_and_every_service_says_that_it_is_there(cloud, stack):
    succeeded(stack.up())
    assert stack.of_cloud() == OF_GATEWAY
    there = census(cloud)
    assert there["servers"] == SERVERS
    assert there["networks"] == ["isthmus-lab-os-1"]
    assert there["security groups"] == ["isthmus-lab-os-1-gateway", "isthmus-lab-os-1-nodes"]
    assert there["containers"] == ["isthmus-lab-os-1-artefacts"]
    assert there["key pairs"] == ["isthmus-lab-os-1"]
    assert there["server groups"] == ["isthmus-lab-os-1-l4-0"]
    assert there["floating IPs"] == [stack.outputs()["gateway"]]
    assert there["load balancers"] == ["isthmus-lab-os-1-door"]
    assert [len(there[kind]) for kind in ("listeners", "pools", "members", "health monitors")] == [1, 1, 1, 1]
    assert len(there["secrets"]) == 4
    assert len(there["application credentials"]) == 2


def test_nothing_is_left_to_do_after_it(stack):
    assert changes(stack) == []


def test_the_gateway_s_server_has_its_port_and_address_and_the_node_is_behind_the_router(stack):
    gateway = resource(stack, "Instance", "os-1-gateway")["outputs"]
    node = resource(stack, "Instance", "os-1-l4-0")["outputs"]
    assert gateway["accessIpV4"] == "10.20.0.10"
    assert gateway["networks"][0]["port"] == resource(stack, "Port", "os-1-gateway")["id"]
    assert node["accessIpV4"].startswith("10.20.")
    assert resource(stack, "FloatingIp", "os-1-gateway")["outputs"]["fixedIp"] == "10.20.0.10"
    assert resource(stack, "RouterRoute", "os-1-vpc")["outputs"]["nextHop"] == "10.20.0.10"
    assert stack.outputs()["mtu"] == 1450


def test_the_store_s_keys_open_it_by_s3(stack):
    outputs = stack.outputs()
    bucket = outputs["store"].removeprefix("s3://")
    s3 = boto3.client(
        "s3",
        endpoint_url=url("swift-proxy"),
        region_name="RegionOne",
        aws_access_key_id=outputs["access_key"],
        aws_secret_access_key=outputs["secret_key"],
    )
    for text in (b"first", b"second"):
        s3.put_object(Bucket=bucket, Key="model", Body=text)
    assert s3.get_object(Bucket=bucket, Key="model")["Body"].read() == b"second"
    assert len(s3.list_object_versions(Bucket=bucket)["Versions"]) == 2


def test_the_gateway_s_credential_reads_the_tunnels_keys_and_nothing_else(stack):
    credential = resource(stack, "ApplicationCredential", "os-1-gateway")
    token = token_of(credential["id"], stack.secrets_of(credential["urn"])["secret"])
    refs = {
        name: resource(stack, "SecretV1", name)["outputs"]["secretRef"]
        for name in ("os-1-tunnel-1", "os-1-tunnel-2", "os-1-artefacts")
    }
    assert read(f"{refs['os-1-tunnel-1']}/payload", token) == (200, "lab-tunnel-one")
    assert read(f"{refs['os-1-tunnel-2']}/payload", token) == (200, "lab-tunnel-two")
    for forbidden in (f"{refs['os-1-artefacts']}/payload", refs["os-1-tunnel-1"], f"{url('barbican')}/v1/secrets"):
        assert read(forbidden, token)[0] in {401, 403}, forbidden
    assert read(f"{url('nova')}/v2.1/servers", token)[0] in {401, 403}


def token_of(identifier, secret):
    login = {"methods": ["application_credential"], "application_credential": {"id": identifier, "secret": secret}}
    return logged_in({"identity": login})


def project_s_token():
    domain = {"domain": {"id": "default"}}
    login = {"methods": ["password"], "password": {"user": {"name": PROJECT, "password": PROJECT, **domain}}}
    return logged_in({"identity": login, "scope": {"project": {"name": PROJECT, **domain}}})


def logged_in(auth):
    request = urllib.request.Request(
        f"{url('keystone')}/v3/auth/tokens",
        data=json.dumps({"auth": auth}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["x-subject-token"]


def read(address, token):
    request = urllib.request.Request(address, headers={"x-auth-token": token, "accept": "text/plain"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, ""


def asked(method, address, token, body=None):
    request = urllib.request.Request(
        address,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"x-auth-token": token, "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def test_no_secret_is_in_the_state_in_plain_text(stack):
    text = "".join(path.read_text() for path in (stack.folder / "backend").rglob("*") if path.is_file())
    assert "os-1-tunnel-1" in text
    for secret in ("lab-tunnel-one", "lab-tunnel-two", stack.outputs()["secret_key"]):
        assert secret not in text


def test_a_changed_tag_is_an_update_of_each_and_replaces_nothing(stack):
    stack.configure(*VALUES, RETAGGED)
    foreseen = by_kind(changes(stack))
    assert {op for op, _ in foreseen} == {"update"}
    assert foreseen["update", "openstack:networking/network:Network"] == 1
    assert foreseen["update", "openstack:compute/instance:Instance"] == 2
    before = {r["urn"]: r.get("id") for r in stack.resources()}
    succeeded(stack.up())
    assert {r["urn"]: r.get("id") for r in stack.resources()} == before
    assert "cost-center=moved" in resource(stack, "Network", "os-1")["outputs"]["tags"]
    assert changes(stack) == []


def test_who_may_administer_changes_rules_and_the_gateway_s_server_but_not_its_address(stack):
    stack.configure(*VALUES, RETAGGED, ADMITTED)
    assert by_kind(changes(stack)) == {
        ("create", "openstack:networking/secGroupRule:SecGroupRule"): 2,
        ("replace", "openstack:compute/instance:Instance"): 1,
    }
    address = stack.outputs()["gateway"]
    server, port = (resource(stack, kind, "os-1-gateway")["id"] for kind in ("Instance", "Port"))
    succeeded(stack.up())
    assert resource(stack, "Instance", "os-1-gateway")["id"] != server
    assert resource(stack, "Port", "os-1-gateway")["id"] == port
    assert stack.outputs()["gateway"] == address
    assert changes(stack) == []


def test_a_refresh_finds_all_as_it_was_left(stack):
    succeeded(stack.run("refresh", "--yes", "--expect-no-changes"))


def test_what_somebody_deleted_is_seen_by_a_refresh_and_made_again(cloud, stack):
    control.ask(cloud, "remove", "server", SERVERS[1])
    assert census(cloud)["servers"] == SERVERS[:1]
    succeeded(stack.run("refresh", "--yes"))
    assert by_kind(changes(stack)) == {("create", "openstack:compute/instance:Instance"): 1}
    succeeded(stack.up())
    assert census(cloud)["servers"] == SERVERS


def test_destroy_leaves_nothing_in_the_cloud(cloud, stack):
    succeeded(stack.run("destroy", "--yes"))
    assert stack.resources() == []
    assert {kind: found for kind, found in census(cloud).items() if found} == {}


def test_vpnaas_in_place_of_the_gateway_comes_up_stays_and_goes(cloud, stack):
    stack.configure(*VALUES, BY_VPNAAS)
    succeeded(stack.up())
    there = census(cloud)
    assert there["VPN connections"] == ["isthmus-lab-os-1"]
    assert there["servers"] == SERVERS[1:]
    assert there["floating IPs"] == []
    assert changes(stack) == []
    succeeded(stack.run("refresh", "--yes", "--expect-no-changes"))
    succeeded(stack.run("destroy", "--yes"))
    assert {kind: found for kind, found in census(cloud).items() if found} == {}


def test_a_load_balancer_is_up_on_a_port_of_the_network_and_goes_with_all_below_it(cloud):
    token, networks = project_s_token(), f"{url('neutron')}/v2.0"
    network = asked("POST", f"{networks}/networks", token, {"network": {"name": "front"}})["network"]["id"]
    subnet = {"name": "front", "network_id": network, "ip_version": 4, "cidr": "192.0.2.0/24"}
    subnet = asked("POST", f"{networks}/subnets", token, {"subnet": subnet})["subnet"]["id"]
    members = [{"name": f"front-{n}", "address": f"192.0.2.{n}", "protocol_port": 30443} for n in (10, 11)]
    monitor = {"name": "front", "type": "TCP", "delay": 5, "timeout": 3, "max_retries": 3}
    pool = {"name": "front", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "healthmonitor": monitor}
    listener = {"name": "front", "protocol": "TCP", "protocol_port": 443, "default_pool": {**pool, "members": members}}
    wanted = {"loadbalancer": {"name": "front", "vip_subnet_id": subnet, "listeners": [listener]}}
    balancers = f"{url('octavia')}/v2/lbaas/loadbalancers"
    made = asked("POST", balancers, token, wanted)["loadbalancer"]
    assert made["provisioning_status"] == "PENDING_CREATE"

    def state():
        there = asked("GET", f"{balancers}/{made['id']}", token)["loadbalancer"]
        return there["provisioning_status"], there["operating_status"]

    assert met(lambda: state() == ("ACTIVE", "ONLINE"), 60, each_s=0.5), state()
    port = asked("GET", f"{networks}/ports/{made['vip_port_id']}", token)["port"]
    assert [each["ip_address"] for each in port["fixed_ips"]] == [made["vip_address"]]
    there = census(cloud)
    assert there["members"] == ["front-10", "front-11"]
    assert [there[kind] for kind in ("load balancers", "listeners", "pools", "health monitors")] == [["front"]] * 4
    control.ask(cloud, "remove", "balancer", "front")
    asked("DELETE", f"{networks}/networks/{network}", token)
    assert {kind: found for kind, found in census(cloud).items() if found} == {}


def test_the_stand_in_speaks_with_no_cloud_elsewhere(stack, tmp_path):
    text = stack.clouds.read_text().replace("127.0.0.1", "192.0.2.1")
    elsewhere = tmp_path / "clouds.yaml"
    elsewhere.write_text(text)
    done = stack.run("preview", clouds=elsewhere)
    assert done.status != 0
    assert "192.0.2.1:5000 is not on this machine's loopback" in done.text
