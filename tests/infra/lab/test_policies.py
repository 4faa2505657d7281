"""NetworkPolicies mean for a node's pods what Kubernetes says, and the ruleset says it to the kernel."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.infra.lab.policy_objects import cluster, here, pod, policy
from tests.lab.policies import objects, ruleset
from tests.lab.policies.fences import EVERYWHERE, Allowance, Span, fences
from tests.lab.policies.selectors import Selector


def reached(allowances: tuple[Allowance, ...]) -> set[str]:
    return {str(network) for allowance in allowances for network in allowance.peers}


OWN = pod("own", "10.0.0.1", app="own")
FRIEND = pod("friend", "10.0.0.2", node="there", app="friend")
OTHER = pod("other", "10.0.0.3", space="b", node="there", app="friend")
EVERYBODY = [OWN, FRIEND, OTHER]


@pytest.mark.parametrize(
    ("expression", "labels", "chosen"),
    [
        ({"operator": "In", "values": ["x", "y"]}, {"k": "y"}, True),
        ({"operator": "In", "values": ["x", "y"]}, {"k": "z"}, False),
        ({"operator": "In", "values": ["x"]}, {}, False),
        ({"operator": "NotIn", "values": ["x"]}, {"k": "x"}, False),
        ({"operator": "NotIn", "values": ["x"]}, {"k": "y"}, True),
        ({"operator": "NotIn", "values": ["x"]}, {}, True),
        ({"operator": "Exists"}, {"k": ""}, True),
        ({"operator": "Exists"}, {}, False),
        ({"operator": "DoesNotExist"}, {"k": ""}, False),
        ({"operator": "DoesNotExist"}, {}, True),
    ],
)
def test_an_expression_chooses(expression, labels, chosen):
    assert Selector.of({"matchExpressions": [{"key": "k", **expression}]}).matches(labels) is chosen


def test_an_empty_selector_chooses_everything_and_conditions_hold_together():
    both = Selector.of({"matchLabels": {"k": "v"}, "matchExpressions": [{"key": "l", "operator": "Exists"}]})
    assert Selector.of({}).matches({})
    assert [both.matches(labels) for labels in ({"k": "v"}, {"l": ""}, {"k": "v", "l": ""})] == [False, False, True]


def test_an_operator_that_kubernetes_does_not_have_is_refused():
    with pytest.raises(ValueError, match="operator 'Near' is none of"):
        Selector.of({"matchExpressions": [{"key": "k", "operator": "Near"}]}).matches({})


def test_nobody_is_isolated_without_policies():
    known = here(cluster(EVERYBODY))
    assert (known.ingress.isolated, known.egress.isolated) == ((), ())


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({}, True, False),
        ({"policyTypes": ["Ingress"]}, True, False),
        ({"policyTypes": ["Egress"]}, False, True),
        ({"policyTypes": ["Ingress", "Egress"]}, True, True),
        ({"egress": [{}]}, True, True),  # unsaid: ingress always, egress if it has rules
        ({"policyTypes": ["Ingress"], "egress": [{}]}, True, False),
    ],
)
def test_directions_are_isolated_one_by_one(spec, ingress, egress):
    known = here(cluster(EVERYBODY, policy(spec)))
    assert (bool(known.ingress.isolated), bool(known.egress.isolated)) == (ingress, egress)


def test_a_policy_binds_the_pods_that_it_selects_in_its_namespace_on_this_node():
    snapshot = cluster(
        [*EVERYBODY, pod("free", "10.0.0.4"), pod("of-b", "10.0.0.5", space="b", app="own")],
        policy({"podSelector": {"matchLabels": {"app": "own"}}}),
    )
    known = here(snapshot)
    assert known.ingress.isolated == (IPv4Address("10.0.0.1"),)
    assert known.own == tuple(map(IPv4Address, ("10.0.0.1", "10.0.0.4", "10.0.0.5")))


@pytest.mark.parametrize(
    ("peer", "addresses"),
    [
        ({"podSelector": {}}, {"10.0.0.1/32", "10.0.0.2/32"}),
        ({"podSelector": {"matchLabels": {"app": "friend"}}}, {"10.0.0.2/32"}),
        ({"namespaceSelector": {}}, {"10.0.0.1/32", "10.0.0.2/31"}),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"10.0.0.3/32"}),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "friend"}}}, {"10.0.0.2/31"}),
        ({"podSelector": {"matchLabels": {"app": "nobody"}}}, set()),
        ({"ipBlock": {"cidr": "192.0.2.0/30", "except": ["192.0.2.1/32"]}}, {"192.0.2.0/32", "192.0.2.2/31"}),
        ({"ipBlock": {"cidr": "192.0.2.0/30", "except": ["192.0.2.0/30"]}}, set()),
        ({"ipBlock": {"cidr": "2001:db8::/32"}}, set()),
    ],
)
@pytest.mark.parametrize(("direction", "side"), [("ingress", "from"), ("egress", "to")])
def test_a_peer_is_known_by_its_addresses(direction, side, peer, addresses):
    rule = policy({direction: [{side: [peer]}], "policyTypes": [direction.capitalize()]})
    assert reached(getattr(here(cluster(EVERYBODY, rule)), direction).allowances) == addresses


@pytest.mark.parametrize("rule", [{}, {"from": []}, {"from": None}])
def test_a_rule_without_peers_lets_everyone_in(rule):
    (allowance,) = here(cluster(EVERYBODY, policy({"ingress": [rule]}))).ingress.allowances
    assert (allowance.peers, allowance.spans) == (EVERYWHERE, ())


@pytest.mark.parametrize(
    ("ports", "spans"),
    [
        ([{"port": 80}], (Span("TCP", 80, 80),)),
        ([{"port": 53, "protocol": "UDP"}], (Span("UDP", 53, 53),)),
        ([{"port": 7400, "endPort": 7463, "protocol": "TCP"}], (Span("TCP", 7400, 7463),)),
        ([{"protocol": "SCTP"}], (Span("SCTP", 0, 65535),)),
        ([{"port": 81}, {"port": 80}, {"port": 80, "endPort": 90}], (Span("TCP", 80, 90),)),
        ([{"port": 9, "protocol": "UDP"}, {"port": 9}], (Span("TCP", 9, 9), Span("UDP", 9, 9))),
    ],
)
def test_ports_are_spans_without_overlaps(ports, spans):
    (allowance,) = here(cluster(EVERYBODY, policy({"ingress": [{"ports": ports}]}))).ingress.allowances
    assert allowance.spans == spans


def test_a_ports_name_means_what_each_pod_that_listens_calls_so():
    pods = [
        pod("one", "10.0.0.1", ports={"http": 8080}),
        pod("two", "10.0.0.2", ports={"http": 9090}),
        pod("three", "10.0.0.3", ports={"other": 7}),
    ]
    rule = policy({"ingress": [{"ports": [{"port": "http"}]}]})
    found = {allowance.own: allowance.spans for allowance in here(cluster(pods, rule)).ingress.allowances}
    assert found == {
        (IPv4Address("10.0.0.1"),): (Span("TCP", 8080, 8080),),
        (IPv4Address("10.0.0.2"),): (Span("TCP", 9090, 9090),),
    }


def test_a_ports_name_means_the_peers_port_in_egress_and_nothing_of_a_block():
    there = pod("there", "10.0.0.9", node="there", ports={"http": 8080})
    to = [{"podSelector": {}}, {"ipBlock": {"cidr": "192.0.2.0/24"}}]
    rule = policy({"policyTypes": ["Egress"], "egress": [{"to": to, "ports": [{"port": "http"}]}]})
    (allowance,) = here(cluster([OWN, there], rule)).egress.allowances
    assert (allowance.peers, allowance.spans) == ((IPv4Network("10.0.0.9/32"),), (Span("TCP", 8080, 8080),))


def test_a_sidecars_port_has_a_name_as_any_other():
    raw = pod("one", "10.0.0.1")
    ports = [{"name": "envoy", "containerPort": 15090}]
    raw["spec"]["initContainers"] = [
        {"name": "proxy", "restartPolicy": "Always", "ports": ports},
        {"name": "once", "ports": [{"name": "gone", "containerPort": 1}]},
    ]
    assert [port.name for port in objects.pod(raw).ports] == ["envoy"]


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": {"hostNetwork": True, "containers": []}},
        {"status": {"phase": "Succeeded", "podIPs": [{"ip": "10.0.0.1"}]}},
        {"status": {"phase": "Failed", "podIPs": [{"ip": "10.0.0.1"}]}},
        {"status": {"phase": "Pending"}},
        {"status": {"phase": "Running", "podIPs": [{"ip": "fd00::1"}]}},
    ],
)
def test_pods_without_an_address_of_their_own_are_left_out(changes):
    assert objects.pod({**OWN, **changes}) is None


def test_a_name_too_long_for_a_comment_is_cut():
    text = ruleset.ruleset(here(cluster(EVERYBODY, policy({"ingress": [{}]}, name="n" * 250))))
    (comment,) = [line for line in text.splitlines() if "comment" in line]
    assert comment.count("n" * 120) == 1
    assert len(comment.rpartition('comment "')[2]) <= 128


def test_nothing_is_left_of_a_fence_that_has_nothing():
    text = ruleset.ruleset(here(cluster([])))
    assert "jump" not in text
    assert "{  }" not in text


def test_all_of_it_is_one_script_that_begins_by_taking_the_old_rules_away():
    text = ruleset.ruleset(here(cluster(EVERYBODY, policy({}))))
    assert text.index("flush table inet isthmus-policies") < text.index("ct state established,related accept")
    assert "ip daddr { 10.0.0.1 } jump arriving" in text
    assert "ip saddr . ip daddr { 10.0.0.1 . 10.0.0.1 } accept" in text  # by a service back to itself


def test_to_cilium_pods_of_another_network_are_addresses_and_its_own_are_none():
    peers = [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/24"}}]
    pods = [OWN, pod("near", "10.0.0.3"), pod("far", "10.0.0.200", node="there")]
    rules = [policy({"ingress": [{"from": [peer]}]}, name=str(index)) for index, peer in enumerate(peers)]
    known = fences(cluster(pods, *rules), "here", [IPv4Network("10.0.0.0/25")])
    assert {allowance.policy: reached((allowance,)) for allowance in known.ingress.allowances} == {
        "a/0": {"10.0.0.1/32", "10.0.0.3/32"},
        "a/1": {"10.0.0.128/25"},
    }
