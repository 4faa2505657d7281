"""Parts of the cluster, each declared once a shape."""

from functools import cache

import pytest

from infra.addressing import address_plan
from infra.cluster import control_plane, controllers, gpu_pools, gpu_servers
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings, declare


def _control_plane(scope, settings):
    plan = address_plan(settings)
    zones = settings.aws_site[1].zones
    return control_plane.cluster(
        scope, settings, plan, fakes.account(), fakes.aws_network(zones), fakes.openstack_network(), fakes.keyring()
    )


def _controllers(scope, settings):
    cluster = fakes.cluster(scope)
    inside = scope.component("Cluster", "inside", {"kubernetes": cluster.provider})
    return controllers.install(inside, settings, address_plan(settings), cluster)


def _gpu_pools(scope, settings):
    return gpu_pools.pools(scope, settings, fakes.aws_network(settings.aws_site[1].zones), fakes.cluster(scope))


def _gpu_servers(scope, settings):
    return gpu_servers.pools(
        scope,
        settings,
        address_plan(settings),
        fakes.account(),
        fakes.openstack_network(),
        fakes.link(),
        fakes.cluster(scope),
    )


@cache
def _declared(body, changes):
    settings = cloud_settings(**{key: _thawed(value) for key, value in changes})
    return declare(lambda scope: body(scope, settings), settings)


def _frozen(value):
    if isinstance(value, dict):
        return ("dict", tuple((key, _frozen(item)) for key, item in value.items()))
    return ("list", tuple(map(_frozen, value))) if isinstance(value, list) else value


def _thawed(value):
    if not isinstance(value, tuple):
        return value
    kind, items = value
    return {key: _thawed(item) for key, item in items} if kind == "dict" else [_thawed(item) for item in items]


def _of(body):
    return lambda **changes: _declared(body, tuple((key, _frozen(value)) for key, value in sorted(changes.items())))


@pytest.fixture
def plane():
    """The control plane with dotted keys of the dev stack changed."""
    return _of(_control_plane)


@pytest.fixture
def installed():
    """The controllers, likewise."""
    return _of(_controllers)


@pytest.fixture
def pools():
    """Pools of GPUs on AWS, likewise."""
    return _of(_gpu_pools)


@pytest.fixture
def servers():
    """Servers with GPUs on OpenStack, likewise."""
    return _of(_gpu_servers)
