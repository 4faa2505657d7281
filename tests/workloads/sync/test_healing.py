"""The outer state on its way to a site that comes back: whole and as it was, or refused."""

import hashlib
import json
import pickle

import pytest
import torch

from tests.kit.links import BreakableLink
from tests.workloads.sync.cohort import HANG_S, RUN, make_exchange, ports_of
from workloads.spec.errors import UserError
from workloads.sync.council import View
from workloads.sync.frame import RefusedError
from workloads.sync.healing import HealingAssembly, HealingState, healing_limit
from workloads.sync.wire import Greeting

STATE = {"parameters": torch.linspace(-1, 1, 300), "progress": torch.arange(9, dtype=torch.uint8)}
CALLER = Greeting(run_id=RUN, site="os-1", part=0)
SITES = ("aws-1", "os-1")
BACK = (
    View(epoch=0, sites=SITES, from_turns=(1,)),
    View(epoch=1, sites=("aws-1",), from_turns=(3,)),
    View(epoch=2, sites=SITES, from_turns=(7,)),
)


def state_of(tensors=STATE, **changes):
    return HealingState(tensors, **{"run_id": RUN, "site": "aws-1", "part": 0, "turn": 7, **changes})


def assemble(header, *chunks, limit=1 << 20):
    assembly = HealingAssembly(CALLER, "aws-1", 7, limit)
    assembly.open(header)
    for chunk in chunks:
        assembly.feed(chunk)
    return assembly.close()


@pytest.fixture
def ports():
    return ports_of(*SITES)


def assert_equal(state, wanted=STATE):
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


def test_a_state_arrives_as_it_was():
    assert_equal(assemble(*state_of().messages(0)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run_id": "other-run"}, "foreign-run"),
        ({"site": "os-2"}, "wrong-site"),
        ({"turn": 6}, "wrong-site"),
        ({"part": 1}, "wrong-site"),
    ],
)
def test_a_state_that_was_not_asked_for_is_refused(changes, reason):
    with pytest.raises(RefusedError, match=reason):
        assemble(*state_of(**changes).messages(0))


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (lambda header, payload: (header, payload[:-1]), "torn"),
        (lambda header, payload: (header, payload + b"more"), "oversized"),
        (lambda header, payload: (header, bytes(len(payload))), "bad-checksum"),
        (lambda header, payload: (b"not a header", payload), "malformed"),
        (
            lambda header, payload: (json.dumps({**json.loads(header), "payload_bytes": 1 << 40}).encode(), b""),
            "oversized",
        ),
    ],
)
def test_a_state_that_was_changed_on_its_way_is_refused(tamper, reason):
    with pytest.raises(RefusedError, match=reason):
        assemble(*tamper(*state_of().messages(0)))


def test_a_pickle_is_refused_unopened():
    class Opens:
        def __reduce__(self):
            return pytest.fail, ("it was unpickled",)

    payload = pickle.dumps(Opens())
    header = state_of().header.model_copy(
        update={"payload_bytes": len(payload), "checksum": hashlib.sha256(payload).hexdigest()}
    )
    with pytest.raises(RefusedError, match="malformed: an outer state that is not safetensors"):
        assemble(header.model_dump_json().encode(), payload)


def test_a_state_has_room_for_parameters_and_momentum_and_no_more_than_that():
    size = 1 << 16
    state = {name: torch.zeros(size) for name in ("parameters", "momentum")}
    assert state_of(state).header.payload_bytes < healing_limit(4 * size) < 4 * state_of(state).header.payload_bytes


def test_a_site_that_joins_gets_the_state_through_a_link_that_breaks(ports, authority):
    tensors = {"parameters": torch.randn(1_000_000, generator=torch.Generator().manual_seed(1))}
    with (
        BreakableLink(ports["aws-1"]) as link,
        make_exchange("aws-1", ports, credentials=authority.issue("aws-1")) as giver,
        make_exchange("os-1", ports, credentials=authority.issue("os-1"), via={"aws-1": link.port}) as joiner,
    ):
        for exchange in (giver, joiner):
            exchange.adopt(BACK)
        link.cut_after(2_000_000)
        giver.offer_healing(7, lambda: tensors)
        assert_equal(joiner.heal(7, HANG_S), tensors)
        assert link.connections >= 2
        assert link.bytes_back < 4_000_000 * 1.5  # it went on from the byte that it had
        assert joiner.refused.total() == 0


def test_a_state_is_given_to_nobody_whom_the_cohort_has_not_let_in(ports):
    with make_exchange("aws-1", ports) as giver, make_exchange("os-1", ports) as joiner:
        giver.adopt(BACK[:2])
        joiner.adopt(BACK)  # it says so itself
        giver.offer_healing(7, lambda: STATE)
        with pytest.raises(UserError, match=r"site os-1: no outer state from aws-1 within 0.3 s; see that they run"):
            joiner.heal(7, 0.3)


def test_a_stranger_gets_no_state(ports, authority):
    with make_exchange("aws-1", ports, credentials=authority.issue("aws-1")) as giver:
        giver.adopt(BACK)
        giver.offer_healing(7, lambda: STATE)
        with make_exchange("os-1", ports, credentials=authority.issue("os-2")) as liar:
            liar.adopt(BACK)
            with pytest.raises(UserError, match="no outer state"):
                liar.heal(7, 0.3)
        assert giver.refused["certificate"] > 0


def test_what_is_not_a_tensor_cannot_become_a_state():
    with pytest.raises((ValueError, AttributeError)):
        state_of({"rows": [["a row", "of data"]]})
