"""The table of the stand-in bridge, against the program and against Pulumi's SDK."""

import importlib
import re

import pytest

from infra.settings import ROOT
from tests.kit.cloud import whole
from tests.lab.providers.bridge import SOURCES

PACKAGE = "openstack"
ROWS = [
    line.split()
    for line in (SOURCES / PACKAGE / "types.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
TOKENS = {token for _, token in ROWS}


@pytest.mark.parametrize("stack", ["dev", "lab"])
def test_the_bridge_serves_every_type_that_a_stack_declares(stack):
    declared = {resource.type for resource in whole(stack).resources if resource.type.startswith(f"{PACKAGE}:")}
    assert declared
    assert declared <= TOKENS


def test_each_token_is_one_of_the_sdk_s():
    for token in TOKENS:
        module, member = re.fullmatch(r"openstack:(\w+)/\w+:(\w+)", token).groups()
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", member).lower() if member.startswith("get") else member
        assert hasattr(importlib.import_module(f"pulumi_openstack.{module}"), name), token


def test_no_terraform_type_stands_for_two_resources():
    resources = [terraform for terraform, token in ROWS if ":get" not in token]
    assert len(set(resources)) == len(resources)


def test_the_stand_in_is_not_where_another_stack_would_find_it():
    assert not list((ROOT / ".state/pulumi").glob("plugins/resource-openstack-*/.*.built"))
