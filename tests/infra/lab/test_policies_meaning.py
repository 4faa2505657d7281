"""NetworkPolicies mean what the text of the API says, in any cluster."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.infra.lab.policy_objects import Raw, cluster, here, pod, policy
from tests.lab.policies import ruleset

PATIENT = settings(deadline=None)  # a timing is no assertion

LABELS = st.dictionaries(st.sampled_from("kl"), st.sampled_from("vw"), max_size=2)
SELECTORS = st.builds(lambda labels: {"matchLabels": labels}, LABELS)
BLOCKS = st.sampled_from(["10.0.0.0/29", "10.0.0.4/30", "0.0.0.0/0", "10.0.0.2/31", "10.0.0.6/32"])
PEERS = st.one_of(
    st.builds(lambda chosen: {"podSelector": chosen}, SELECTORS),
    st.builds(lambda chosen: {"namespaceSelector": chosen}, SELECTORS),
    st.builds(lambda one, two: {"podSelector": one, "namespaceSelector": two}, SELECTORS, SELECTORS),
    st.builds(lambda cidr, holes: {"ipBlock": {"cidr": cidr, "except": holes}}, BLOCKS, st.lists(BLOCKS, max_size=2)),
)
PORTS = st.one_of(
    st.builds(lambda port, more: {"port": port, "endPort": port + more}, st.integers(1, 6), st.integers(0, 3)),
    st.just({}),
    st.builds(lambda name: {"port": name}, st.sampled_from(["red", "blue"])),
)
RULES = st.lists(
    st.fixed_dictionaries({}, optional={"from": st.lists(PEERS, max_size=2), "ports": st.lists(PORTS, max_size=2)}),
    max_size=3,
)
PODS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        LABELS,
        st.dictionaries(st.sampled_from(["red", "blue"]), st.integers(1, 8), max_size=2),
    ),
    min_size=1,
    max_size=6,
)
POLICIES = st.lists(st.tuples(st.sampled_from("ab"), SELECTORS, RULES), max_size=3)


def named(port: Raw, listener: Raw, number: int) -> bool:
    """By the text of the API: whether a rule's port is this number of the listener."""
    match port.get("port"):
        case None:
            return True
        case int(first):
            return first <= number <= port.get("endPort", first)
        case name:
            return {"name": name, "containerPort": number} in listener["spec"]["containers"][0]["ports"]


def meant(rule: Raw, sender: Raw, listener: Raw, space: str, number: int, labels: dict[str, dict[str, str]]) -> bool:
    """By the text of the API: whether an ingress rule lets a pod in at a port."""

    def chosen(selector: Raw, of: dict[str, str]) -> bool:
        return selector["matchLabels"].items() <= of.items()

    def lets(peer: Raw) -> bool:
        metadata = sender["metadata"]
        if block := peer.get("ipBlock"):
            address = IPv4Address(sender["status"]["podIPs"][0]["ip"])
            inside = [address in IPv4Network(cidr) for cidr in (block["cidr"], *block["except"])]
            return inside[0] and not any(inside[1:])
        spaces = peer.get("namespaceSelector")
        here = metadata["namespace"] == space if spaces is None else chosen(spaces, labels[metadata["namespace"]])
        return here and chosen(peer.get("podSelector", {"matchLabels": {}}), metadata["labels"])

    peers, ports = rule.get("from"), rule.get("ports")
    return (not peers or any(map(lets, peers))) and (not ports or any(named(port, listener, number) for port in ports))


@PATIENT
@given(pods=PODS, policies=POLICIES, spaces=st.fixed_dictionaries({"a": LABELS, "b": LABELS}))
def test_what_arrives_is_let_in_as_the_api_text_says(pods, policies, spaces):
    raws = [
        pod(f"pod-{index}", f"10.0.0.{index + 1}", space, ports=ports, **labels)
        for index, (space, labels, ports) in enumerate(pods)
    ]
    specs = [
        policy({"podSelector": chosen, "ingress": rules}, space, f"policy-{index}")
        for index, (space, chosen, rules) in enumerate(policies)
    ]
    known = here(cluster(raws, *specs, **spaces))
    for listener in raws:
        metadata, address = listener["metadata"], IPv4Address(listener["status"]["podIPs"][0]["ip"])
        bound = [
            (space, rules)
            for space, chosen, rules in policies
            if space == metadata["namespace"] and chosen["matchLabels"].items() <= metadata["labels"].items()
        ]
        assert (address in known.ingress.isolated) is bool(bound)
        for sender in raws:
            source = IPv4Address(sender["status"]["podIPs"][0]["ip"])
            for number in (1, 3, 5, 8):
                lets = known.ingress.lets(address, source, number)
                assert lets is (
                    not bound
                    or any(
                        meant(rule, sender, listener, space, number, spaces) for space, rules in bound for rule in rules
                    )
                )


@PATIENT
@given(pods=PODS, policies=POLICIES, order=st.randoms(use_true_random=False))
def test_the_order_in_which_things_were_told_changes_nothing(pods, policies, order):
    raws = [
        pod(f"pod-{index}", f"10.0.0.{index + 1}", space, **labels) for index, (space, labels, _) in enumerate(pods)
    ]
    specs = [
        policy({"podSelector": chosen, "ingress": rules}, space, f"policy-{index}")
        for index, (space, chosen, rules) in enumerate(policies)
    ]
    text = ruleset.ruleset(here(cluster(raws, *specs)))
    order.shuffle(raws)
    order.shuffle(specs)
    assert ruleset.ruleset(here(cluster(raws, *specs))) == text
