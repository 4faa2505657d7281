"""The lab's parts that tests share: each is made once and ended by whoever made it."""

import pytest

from infra.settings import ROOT
from tests.lab.openstack import control
from tests.lab.openstack.layout import Layout
from tests.lab.providers import bridge

HOME = ROOT / ".state/lab/home"
"""PULUMI_HOME with the stand-in plugins, which no other stack is to find."""


@pytest.fixture(scope="session")
def lab_home():
    bridge.build("openstack", HOME / "plugins")
    return HOME


@pytest.fixture(scope="module")
def cloud():
    """A control plane of OpenStack with nothing in the project."""
    with control.running(Layout(ROOT / ".state/lab/openstack")) as layout:
        yield layout
