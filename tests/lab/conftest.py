"""The lab's parts that tests share: each is made once and ended by whoever made it. Drills are told in the lab's report."""

from typing import Final

import pytest

from tests.lab import place
from tests.lab.openstack import control
from tests.lab.openstack.layout import Layout
from tests.lab.providers import bridge
from tests.lab.record import Record

_STORY: Final = "tests/lab/test_lab.py::"
_WHY_CHARACTERS: Final = 600


@pytest.fixture(scope="session")
def lab_home():
    bridge.build("openstack", place.HOME / "plugins")
    return place.HOME


@pytest.fixture(scope="module")
def cloud():
    """A control plane of OpenStack with nothing in the project."""
    with control.running(Layout(place.LAB / "openstack")) as layout:
        yield layout


def pytest_report_teststatus(report):
    """Each drill's line has its seconds."""
    if report.nodeid.startswith(_STORY) and report.when == "call" and report.passed:
        return "passed", ".", f"PASSED in {report.duration:.0f} s"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What came of a drill, for the report that its own fixture draws afterwards."""
    told = yield
    if item.nodeid.startswith(_STORY) and (told.when == "call" or told.failed):
        story = item.funcargs.get("story")
        record = story.record if story is not None else Record(place.REPORT / "report.json")
        why = str(call.excinfo.value)[-_WHY_CHARACTERS:] if call.excinfo is not None and told.failed else ""
        name = item.name.removeprefix("test_").replace("_", " ")
        record.append("drills", {"name": name, "outcome": told.outcome, "seconds": round(told.duration, 1), "why": why})
        if story is not None:
            story.log.say("drill", f"{name}: {told.outcome} in {told.duration:.1f} s {why}")
    return told
