"""The network of the dev stack, declared once a shape: what tests do with it is reading."""

from functools import cache

import pytest

from infra.addressing import address_plan
from infra.network import aws, openstack, vpn
from infra.scope import Scope
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import CloudProgram, cloud_settings, declare


@cache
def _declared(changes):
    settings = cloud_settings(**dict(changes))
    plan = address_plan(settings)

    def body(scope: Scope):
        keyring = fakes.keyring()
        aws_side = aws.network(scope, settings, plan, keyring)
        openstack_side = openstack.network(scope, settings, plan)
        return aws_side, openstack_side, vpn.link(scope, settings, plan, aws_side, openstack_side, keyring)

    return declare(body, settings)


@pytest.fixture
def network():
    """Both sides and the link between them, with dotted keys of the dev stack changed."""

    def of(**changes) -> CloudProgram:
        return _declared(tuple(sorted(changes.items())))

    return of
