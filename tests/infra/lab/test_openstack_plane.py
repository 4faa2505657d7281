"""The pure parts of the lab's OpenStack: what a load balancer's stand-in reports, and that services and files agree."""

import ast
import configparser
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.settings import ROOT
from tests.lab.openstack import control
from tests.lab.openstack.config import files
from tests.lab.openstack.inside.settled import report
from tests.lab.openstack.layout import PORTS, Layout

UP = {"provisioning_status": "ACTIVE", "operating_status": "ONLINE"}
GONE = {"provisioning_status": "DELETED"}


def one(name, state="PENDING_CREATE", *, working="OFFLINE", enabled=True, **below):
    return SimpleNamespace(id=name, provisioning_status=state, operating_status=working, enabled=enabled, **below)


def balancer(state="PENDING_UPDATE", listeners=(), pools=(), **more):
    return one("balancer", state, listeners=listeners, pools=pools, **more)


def settled(name, **more):
    """As Octavia has it once all was reported."""
    return one(name, "ACTIVE", working="ONLINE", **more)


def whole(state):
    """A load balancer of each kind of object, all in one state."""
    rules = [one("rule", state)]
    listeners = [one("listener", state, l7policies=[one("policy", state, l7rules=rules)])]
    pools = [one("pool", state, health_monitor=one("monitor", state), members=[one("member", state)])]
    return balancer(state, listeners, pools)


KINDS = {
    "loadbalancers": "balancer",
    "listeners": "listener",
    "l7policies": "policy",
    "l7rules": "rule",
    "pools": "pool",
    "healthmonitors": "monitor",
    "members": "member",
}


@pytest.mark.parametrize("state", ["PENDING_CREATE", "PENDING_UPDATE"])
def test_what_waits_to_be_made_or_changed_is_up_whatever_its_kind(state):
    assert report(whole(state)) == {kind: [{"id": name, **UP}] for kind, name in KINDS.items()}


def test_a_load_balancer_goes_with_all_below_it():
    ended = whole("ACTIVE")
    ended.provisioning_status = "PENDING_DELETE"
    assert report(ended) == {kind: [{"id": name, **GONE}] for kind, name in KINDS.items()}


@pytest.mark.parametrize(
    ("goes", "with_it"),
    [
        ("listeners", {"listeners", "l7policies", "l7rules"}),
        ("pools", {"pools", "healthmonitors", "members"}),
    ],
)
def test_what_goes_takes_what_is_below_it_and_nothing_else(goes, with_it):
    changed = whole("PENDING_UPDATE")
    getattr(changed, goes)[0].provisioning_status = "PENDING_DELETE"
    told = report(changed)
    assert {kind for kind, (said,) in told.items() if said["provisioning_status"] == "DELETED"} == with_it
    assert told["loadbalancers"] == [{"id": "balancer", **UP}]


def test_members_are_watched_by_a_monitor_that_is_there_and_enabled():
    def state(monitor):
        pool = settled("pool", health_monitor=monitor, members=[one("member")])
        return report(balancer(pools=[pool]))["members"][0]["operating_status"]

    assert state(settled("monitor")) == "ONLINE"
    assert state(None) == "NO_MONITOR"
    assert state(settled("monitor", enabled=False)) == "NO_MONITOR"
    assert state(one("monitor", "PENDING_DELETE")) == "NO_MONITOR"


def test_what_is_disabled_is_active_and_offline():
    assert report(balancer(enabled=False)) == {
        "loadbalancers": [{"id": "balancer", "provisioning_status": "ACTIVE", "operating_status": "OFFLINE"}]
    }


def test_what_is_as_it_was_and_what_has_failed_is_not_reported():
    listeners = [settled("listener", l7policies=[]), one("failed", "ERROR", l7policies=[])]
    assert set(report(balancer(listeners=listeners))) == {"loadbalancers"}


def test_a_member_that_is_no_longer_watched_says_so_though_nobody_changed_it():
    pool = settled("pool", health_monitor=one("monitor", "PENDING_DELETE"), members=[settled("member")])
    told = report(balancer(pools=[pool]))
    assert told["members"] == [{"id": "member", "provisioning_status": "ACTIVE", "operating_status": "NO_MONITOR"}]


@pytest.fixture
def written(tmp_path):
    return files(Layout(tmp_path), bytes(32))


def parsed(text):
    read = configparser.RawConfigParser(strict=True)
    read.read_string(text)
    return read


def test_each_service_has_a_port_of_its_own_and_a_process():
    assert len(set(PORTS.values())) == len(PORTS)
    assert set(PORTS) == set(control._SERVICES)


def test_octavia_has_the_lab_s_driver_and_no_amphorae(written):
    settings = parsed(written["etc/octavia.conf"])["api_settings"]
    driver = settings["default_provider_driver"]
    assert [word.partition(":")[0] for word in settings["enabled_provider_drivers"].split(",")] == [driver]
    points = parsed(written["plug/isthmus_lab-1.dist-info/entry_points.txt"])
    assert driver in points["octavia.api.drivers"]


def test_each_driver_that_is_named_is_a_class_of_the_lab_s(written):
    points = parsed(written["plug/isthmus_lab-1.dist-info/entry_points.txt"])
    named = [target for section in points.sections() for target in points[section].values()]
    assert len(named) == 2
    for target in named:
        module, _, name = target.partition(":")
        tree = ast.parse(Path(ROOT, *module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}, target
