"""The rules in a kernel: real connections between namespaces that stand for pods on two nodes."""

import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import pytest

from infra.settings import ROOT
from tests.lab.policies import namespaces, ruleset
from tests.lab.policies.enforcement import RulesError, apply
from tests.lab.policies.fences import fences
from tests.lab.policies.objects import Snapshot
from tests.lab.policies.scripted_api import Server, serving, write_kubeconfig
from tests.lab.policies.two_nodes import (
    FAR,
    LIMIT_S,
    NEAR,
    ONE,
    OTHER,
    OUTSIDE,
    OWN,
    PODS,
    PORTS,
    TWO,
    lacking,
    made,
    manifest,
)

WHY_NOT = lacking()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "all is there")
Raw = dict[str, Any]


def policy(of: str | None = OWN, name: str = "one", **spec: Any) -> Raw:
    chosen = {"matchLabels": {"app": of}} if of else {}
    return {"metadata": {"name": name, "namespace": "a"}, "spec": {"podSelector": chosen, **spec}}


def pods(name: str) -> Raw:
    return {"podSelector": {"matchLabels": {"app": name}}}


@pytest.fixture(scope="module")
def net():
    with made() as there:
        yield there


def test_without_policies_everything_passes(net):
    net.enforce()
    assert all(net.reaches(source, OWN) for source in (NEAR, FAR, OTHER))
    assert net.reaches(TWO, OWN, start=OUTSIDE)


def test_denied_by_default_in_both_directions_over_the_bridge_and_over_the_wire(net):
    net.enforce(policy(policyTypes=["Ingress", "Egress"]))
    for other in (NEAR, FAR, OTHER):
        assert not net.reaches(other, OWN)
        assert not net.reaches(OWN, other)
    assert net.reaches(NEAR, FAR)


def test_the_other_direction_stays_open(net):
    net.enforce(policy(policyTypes=["Ingress"]))
    assert net.reaches(OWN, NEAR)
    assert net.reaches(OWN, FAR)
    assert not net.reaches(FAR, OWN)


@pytest.mark.parametrize(
    ("peer", "let"),
    [
        (pods(NEAR), {NEAR}),
        (pods(FAR), {FAR}),
        ({"podSelector": {}}, {NEAR, FAR}),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, {OTHER}),
        ({"namespaceSelector": {}}, {NEAR, FAR, OTHER}),
        ({"ipBlock": {"cidr": "10.91.2.0/24", "except": ["10.91.2.3/32"]}}, {FAR}),
        ({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.91.1.0/24"]}}, {FAR, OTHER}),
    ],
)
def test_a_peer_is_let_in_and_no_other(net, peer, let):
    net.enforce(policy(ingress=[{"from": [peer]}]))
    assert {source for source in (NEAR, FAR, OTHER) if net.reaches(source, OWN)} == let


def test_a_block_lets_in_what_is_outside_of_the_cluster(net):
    net.enforce(policy(ingress=[{"from": [{"ipBlock": {"cidr": f"{OUTSIDE}/32"}}]}]))
    assert net.reaches(TWO, OWN, start=OUTSIDE)
    assert not net.reaches(TWO, OWN, start="10.91.0.2")


@pytest.mark.parametrize(
    ("ports", "open_ports"),
    [
        ([{"port": 80}], {80}),
        ([{"port": 80, "endPort": 81}], {80, 81}),
        ([{"port": "web"}], {81}),
        ([{"port": 90}, {"port": "web"}], {81, 90}),
        ([{"protocol": "TCP"}], {80, 81, 90}),
        ([{"protocol": "UDP"}, {"port": 90, "protocol": "SCTP"}], set()),
        ([], {80, 81, 90}),
    ],
)
@pytest.mark.parametrize("source", [NEAR, FAR])
def test_ports_by_number_range_and_name(net, source, ports, open_ports):
    net.enforce(policy(ingress=[{"from": [pods(source)], "ports": ports}]))
    assert {port for port in PORTS if net.reaches(source, OWN, port)} == open_ports


def test_egress_goes_where_it_may(net):
    net.enforce(policy(policyTypes=["Egress"], egress=[{"to": [pods(FAR)], "ports": [{"port": "web"}]}]))
    assert net.reaches(OWN, FAR, 81)
    assert not net.reaches(OWN, FAR, 80)
    assert not net.reaches(OWN, NEAR, 81)
    assert not net.reaches(OWN, OTHER, 81)


def test_both_ends_have_to_agree(net):
    leaves = policy(OWN, "leaves", policyTypes=["Egress"], egress=[{"to": [pods(FAR), pods(NEAR)]}])
    net.enforce(leaves, policy(FAR, "arrives"), policy(NEAR, "arrives-near"))
    assert not net.reaches(OWN, FAR)
    assert not net.reaches(OWN, NEAR)
    let = [{"from": [pods(OWN)]}]
    net.enforce(leaves, policy(FAR, "arrives", ingress=let), policy(NEAR, "arrives-near", ingress=let))
    assert net.reaches(OWN, FAR)
    assert net.reaches(OWN, NEAR)


def test_policies_add_up(net):
    net.enforce(
        policy(None, "deny", policyTypes=["Ingress", "Egress"]),
        policy(OWN, "near", ingress=[{"from": [pods(NEAR)]}]),
        policy(OWN, "far", ingress=[{"from": [pods(FAR)]}]),
        policy(None, "leave", policyTypes=["Egress"], egress=[{}]),
    )
    assert net.reaches(NEAR, OWN)
    assert net.reaches(FAR, OWN)
    assert not net.reaches(OTHER, OWN)


def test_a_node_reaches_its_own_pods_and_another_node_not(net):
    net.enforce(policy(policyTypes=["Ingress", "Egress"]))
    assert net.reaches(ONE, OWN, start="10.91.1.1")
    assert not net.reaches(TWO, OWN, start="10.91.0.2")


def test_a_service_is_judged_by_the_pod_behind_it(net):
    """As kube-proxy does it: the destination is rewritten before anything is forwarded."""
    net.enforce(policy(FAR, ingress=[{"from": [pods(OWN)], "ports": [{"port": 81}]}]))
    rules = [
        f"ip daddr {service} tcp dport 80 dnat to {PODS[FAR][1]}:{port}"
        for service, port in (("10.96.0.7", 81), ("10.96.0.8", 80))
    ]
    chain = "\n".join(["type nat hook prerouting priority dstnat", *rules])
    service = f"table ip service {{\nchain before {{\n{chain}\n}}\n}}\n"
    with namespaces.inside(net.spaces[ONE]):
        apply(service)
        try:
            with net.opened(OWN, socket.SOCK_STREAM) as one:
                one.settimeout(LIMIT_S)
                one.connect(("10.96.0.7", 80))
            with net.opened(OWN, socket.SOCK_STREAM) as one:
                one.setblocking(False)
                one.connect_ex(("10.96.0.8", 80))
                deadline = time.monotonic() + LIMIT_S
                refused = [PODS[OWN][1], PODS[FAR][1], "tcp", 80]
                while refused not in net.refused():
                    assert time.monotonic() < deadline
                    assert not select.select([], [one], [], 0.01)[1]
        finally:
            apply("delete table ip service\n")


def test_a_connection_that_stands_goes_on_when_rules_change(net):
    net.enforce()
    with net.opened(FAR, socket.SOCK_STREAM) as one:
        one.settimeout(LIMIT_S)
        one.connect((PODS[OWN][1], 80))
        (listener,) = (each for each in net.listening if each.getsockname() == (PODS[OWN][1], 80))
        listener.settimeout(LIMIT_S)
        while (accepted := listener.accept())[1] != one.getsockname():
            accepted[0].close()
        with accepted[0] as other:
            net.enforce(policy(policyTypes=["Ingress", "Egress"]))
            one.sendall(b"still here")
            other.settimeout(LIMIT_S)
            assert other.recv(16) == b"still here"


def test_a_datagram_is_held_to_the_rules_as_well(net):
    net.enforce(policy(ingress=[{"ports": [{"port": 53, "protocol": "UDP"}]}]))
    with net.opened(OWN, socket.SOCK_DGRAM) as listener, net.opened(FAR, socket.SOCK_DGRAM) as sender:
        listener.bind((PODS[OWN][1], 53))
        listener.settimeout(LIMIT_S)
        sender.sendto(b"name", (PODS[OWN][1], 53))
        assert listener.recv(16) == b"name"
        net.forget()
        sender.sendto(b"name", (PODS[OWN][1], 54))
        deadline = time.monotonic() + LIMIT_S
        while [PODS[FAR][1], PODS[OWN][1], "udp", 54] not in net.refused():
            assert time.monotonic() < deadline


def test_a_faulty_script_changes_nothing(net):
    net.enforce(policy())
    before = net.table(ONE)
    with namespaces.inside(net.spaces[ONE]), pytest.raises(RulesError, match="nft: "):
        apply(ruleset.ruleset(fences(Snapshot((), {}, ()), ONE)) + "add rule inet nowhere forward accept\n")
    assert "jump arriving" in before
    assert "jump arriving" in net.table(ONE)
    assert not net.reaches(NEAR, OWN)


@pytest.fixture
def api(net):
    """A server on node one's own loopback, which knows the pods and one policy."""
    script = Server(
        [(10, [])],
        [],
        {
            "pods": [manifest(name) for name in PODS],
            "namespaces": [{"metadata": {"name": name, "resourceVersion": "1"}} for name in "ab"],
            "networkpolicies": [policy()],
        },
    )
    with ExitStack() as stack:
        with namespaces.inside(net.spaces[ONE]):
            port = stack.enter_context(serving(script))
        yield port


def started(net, kubeconfig):
    options = ("--kubeconfig", str(kubeconfig), "--node", ONE, "--netns", net.spaces[ONE])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.policies", *options], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    said = next(line for line in process.stderr if "in force" in line or "Error" in line)
    assert "in force: 2 pods, isolated 1 for what arrives and 0 for what leaves" in said
    return process


def test_the_process_enforces_until_it_is_ended_and_one_that_is_killed_leaves_its_rules(net, api, tmp_path):
    net.enforce()
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", api)
    for ending, stays in ((signal.SIGKILL, True), (signal.SIGTERM, False)):
        with started(net, kubeconfig) as process:
            try:
                assert not net.reaches(NEAR, OWN)
                assert net.reaches(OWN, NEAR)
            finally:
                process.send_signal(ending)
                process.wait(LIMIT_S)
        assert process.returncode == (0 if ending == signal.SIGTERM else -ending)
        assert ("isthmus-policies" in net.table(ONE)) is stays


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--netns", "policies-none"], "network namespace policies-none: No such file or directory"),
        ([], "kubeconfig '/none': No such file or directory"),
    ],
)
def test_a_mistake_is_told_in_one_line(options, said):
    command = [sys.executable, "-m", "tests.lab.policies", "--kubeconfig", "/none", "--node", ONE, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_in_the_end_nothing_is_left(net):
    net.enforce(policy())
    for node in (ONE, TWO):
        with namespaces.inside(net.spaces[node]):
            apply(ruleset.removal())
            apply(ruleset.removal())
        assert net.table(node) == ""
