"""Customer keys, one a purpose, so that each can be given, watched and withdrawn by itself."""

import json
from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from infra.cloud_contracts import AccountContract, KeyContract
from infra.scope import Scope
from infra.settings import Settings
from infra.storage.key_policies import PURPOSES, key_policy

_REPLICATED = frozenset({"artefacts"})
"""Purposes whose data is read in another region. A key of several regions is a wider one; the others stay at home."""

_WAIT_DAYS = 30  # between the order to delete a key and its end: the longest that KMS offers


def keys(scope: Scope, settings: Settings, here: AccountContract) -> Mapping[str, KeyContract]:
    """A key for the cluster's secrets and volumes, for artefacts, and for logs, each with rotation and an alias."""
    scope = scope.component("Keys", "keys")
    replica_region = settings.of_cloud.storage.replica_region
    return {
        purpose: _key(scope, purpose, here, replica_region if purpose in _REPLICATED else None) for purpose in PURPOSES
    }


def _key(scope: Scope, purpose: str, here: AccountContract, replica_region: str | None) -> KeyContract:
    name = f"{purpose}-key"
    key = aws.kms.Key(
        name,
        description=f"{scope.naming.prefix}: {purpose}",
        policy=_policy(purpose, here, here.region),
        enable_key_rotation=True,
        multi_region=replica_region is not None,
        deletion_window_in_days=_WAIT_DAYS,
        tags=scope.naming.tags(name),
        opts=scope.keeper(),
    )
    alias = f"alias/{scope.naming.physical(purpose)}"
    aws.kms.Alias(name, name=alias, target_key_id=key.key_id, opts=scope.child())
    if replica_region is None:
        return KeyContract(arn=key.arn, replica_arn=None)
    replica = aws.kms.ReplicaKey(
        f"{name}-replica",
        region=replica_region,
        primary_key_arn=key.arn,
        description=f"{scope.naming.prefix}: {purpose}",
        policy=_policy(purpose, here, replica_region),  # a replica does not follow its primary's policy
        deletion_window_in_days=_WAIT_DAYS,
        tags=scope.naming.tags(f"{name}-replica"),
        opts=scope.keeper(),
    )
    aws.kms.Alias(
        f"{name}-replica", region=replica_region, name=alias, target_key_id=replica.key_id, opts=scope.child()
    )
    return KeyContract(arn=key.arn, replica_arn=replica.arn)


def _policy(purpose: str, here: AccountContract, region: str) -> pulumi.Output[str]:
    return pulumi.Output.all(here.account_id, here.partition).apply(
        lambda known: json.dumps(key_policy(purpose, known[0], known[1], region))
    )
