"""Descriptions of the types, by service."""

from collections.abc import Mapping
from typing import Final

from tests.lab.providers.aws.spec import Type
from tests.lab.providers.aws.types import (
    anywhere,
    buckets,
    clusters,
    identities,
    keys,
    network,
    rules,
    servers,
    transit,
    vpn,
)

TYPES: Final[Mapping[str, Type]] = {
    kind.token: kind
    for module in (anywhere, buckets, clusters, identities, keys, network, rules, servers, transit, vpn)
    for kind in module.TYPES
}
"""By Pulumi's token. No type is here that the lab's stack does not declare."""
