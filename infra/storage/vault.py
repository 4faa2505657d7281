"""Secrets that somebody needs who has neither the stack's state nor the cluster, in AWS Secrets Manager."""

import pulumi
import pulumi_aws as aws

from infra.cloud_contracts import KeyContract
from infra.cloud_settings import StorageSettings
from infra.scope import Scope

_RECOVERY_DAYS = 30  # a deleted secret can be had back: the longest that Secrets Manager offers


def kept_secret(
    scope: Scope, name: str, value: pulumi.Output[str], key: KeyContract, values: StorageSettings
) -> pulumi.Output[str]:
    """The ARN of a secret with this value, under a key, copied to the region of the replica if there is one."""
    copies = (
        [aws.secretsmanager.SecretReplicaArgs(region=values.replica_region, kms_key_id=key.replica_arn)]
        if values.replica_region is not None
        else None
    )
    secret = aws.secretsmanager.Secret(
        name,
        name=scope.naming.physical(name),
        kms_key_id=key.arn,
        replicas=copies,
        recovery_window_in_days=0 if values.erasable else _RECOVERY_DAYS,
        tags=scope.naming.tags(name),
        opts=scope.keeper(),
    )
    hidden: pulumi.Output[str] = pulumi.Output.secret(value)
    aws.secretsmanager.SecretVersion(name, secret_id=secret.id, secret_string=hidden, opts=scope.child())
    return secret.arn
