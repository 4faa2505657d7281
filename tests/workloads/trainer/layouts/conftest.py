"""Worlds of processes, each started once for all tests that need it."""

import pytest

from tests.kit.gloo import gloo_world


@pytest.fixture(scope="session")
def two():
    with gloo_world(2) as world:
        yield world


@pytest.fixture(scope="session")
def eight():
    with gloo_world(8) as world:
        yield world


@pytest.fixture(scope="session")
def four():
    with gloo_world(4) as world:
        yield world
