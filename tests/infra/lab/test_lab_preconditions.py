"""What the lab says before anything starts: all of it at once, a line each, with value, limit and remedy."""

from dataclasses import replace

import pytest

from tests.lab.daemons import Daemon
from tests.lab.preconditions import Facts, disk_needed_gib, faults, living, needed_go

GOOD = Facts(
    user=0,
    missing=(),
    has_tun=True,
    go=(1, 26),
    go_needed=(1, 26),
    in_use={},
    namespaces=(),
    devices=(),
    routes=(),
    disk_gib=60.0,
    disk_needed_gib=40.0,
    memory_gib=16.0,
    recorded=(),
    was_here=False,
)


def only(**facts):
    (said,) = faults(replace(GOOD, **facts))
    return said


def test_a_machine_that_has_all_is_told_nothing():
    assert faults(GOOD) == []


def test_who_is_not_root_is_told_what_needs_it():
    assert only(user=1000) == "user 1000 is not root, which network namespaces and containers need; run it with sudo"


def test_no_go_and_an_old_one():
    assert only(go=None, missing=("go",)) == "go is not on PATH; install Go and put it on PATH"
    assert "Go 1.24 is older than 1.26" in only(go=(1, 24))


def test_low_disk_and_memory_say_what_is_free_and_what_is_needed():
    assert only(disk_gib=11.4).startswith("disk: 11 GiB are free at .state, the lab needs 40;")
    assert only(memory_gib=3.25).startswith("memory: 3.2 GiB are free, the lab needs 6;")


def test_a_port_in_use_says_who_has_it_and_who_wants_it():
    assert only(in_use={"moto": "5001, in use by python3 (process 12)"}) == (
        "port 5001, in use by python3 (process 12), is where moto would listen; end it"
    )


def test_a_namespace_of_nobody_s_is_not_ours_to_take_away():
    assert only(namespaces=("isthmus-aws",)).endswith("if nobody needs it, `ip netns delete isthmus-aws`")
    assert only(devices=("isthmus-lab",)).endswith("if nobody needs it, `ip link delete isthmus-lab`")


def test_a_route_of_somebody_else_s_and_a_kernel_without_tunnels():
    assert only(routes=("10.20.0.0/16 by eth1",)).startswith("network 10.20.0.0/16 by eth1 is this machine's already")
    assert only(has_tun=False) == "/dev/net/tun is missing, which the link is made of; load the kernel's module tun"


def test_what_an_earlier_lab_of_this_checkout_left_goes_with_lab_down():
    assert only(namespaces=("isthmus-aws",), was_here=True).endswith("run `make lab-down`")


def test_a_lab_that_still_runs_is_one_line_whatever_else_it_holds():
    said = only(
        recorded=("etcd", "link", "nova", "glance", "neutron"),
        in_use={"nova": "8774, in use by python (process 9)"},
        namespaces=("isthmus-aws",),
        was_here=True,
    )
    assert said == "an earlier lab still runs (5 processes: etcd, link, nova, glance, …); run `make lab-down` first"


def test_everything_that_lacks_is_said_at_once():
    assert len(faults(replace(GOOD, user=7, go=None, missing=("go", "cc"), disk_gib=1, memory_gib=1))) == 5


def test_the_go_that_is_needed_is_the_newest_that_a_module_names():
    assert needed_go(["module a\n\ngo 1.24.0\n", "module b\ngo 1.26\n", "module c\n"]) == (1, 26)


@pytest.mark.parametrize(
    ("there", "gib"),
    [((), 40), (("cluster/images/trainer.tar",), 20), (("cluster/images/trainer.tar", "cluster/nodes/a"), 8)],
)
def test_the_more_is_built_the_less_disk_is_needed(tmp_path, there, gib):
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert disk_needed_gib(tmp_path) == gib


@pytest.mark.parametrize("folder", ["cluster/run", "aws/run", "openstack/run/log"])
def test_processes_of_every_part_are_found_again(tmp_path, folder):
    left = Daemon("left", ("sleep", "60"), tmp_path / folder)
    left.start()
    try:
        assert living(tmp_path) == ["left"]
    finally:
        left.stop()
    assert living(tmp_path) == []
