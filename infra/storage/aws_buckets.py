"""A bucket as every bucket of the platform is: versioned, encrypted, private, over TLS alone, tidied up.

Access is not logged into another bucket: server access logs are delivered on a best effort, cannot be encrypted with
a customer's key, and would double the buckets. Object calls belong into the account's CloudTrail as data events.
"""

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.access import grants
from infra.access.buckets import Replica
from infra.cloud_contracts import AccountContract, StoreContract
from infra.cloud_settings import StorageSettings
from infra.scope import Scope
from infra.storage.bucket_policies import bucket_policy

_ABANDONED_UPLOAD_DAYS = 7
_LAG_MINUTES = 15  # the one threshold that S3 replication time control has; what it measures is the RPO


@dataclass(frozen=True)
class Bucket:
    """A bucket with its versions on, which is what replication waits for."""

    bucket: aws.s3.Bucket
    versioning: aws.s3.BucketVersioning


def private_bucket(
    scope: Scope,
    name: str,
    physical_name: pulumi.Input[str],
    key_arn: pulumi.Output[str],
    values: StorageSettings,
    site: str,
    region: str,
) -> Bucket:
    """The bucket and everything that guards it."""
    bucket = aws.s3.Bucket(
        name,
        bucket=physical_name,
        region=region,
        force_destroy=values.erasable,
        tags=scope.naming.tags(name, site),
        opts=scope.keeper(),
    )
    _close(scope, name, bucket, key_arn, region)
    aws.s3.BucketServerSideEncryptionConfiguration(
        name, bucket=bucket.bucket, region=region, rules=[_encryption(key_arn)], opts=scope.child()
    )
    versioning = aws.s3.BucketVersioning(
        name,
        bucket=bucket.bucket,
        region=region,
        versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
        opts=scope.child(),
    )
    aws.s3.BucketLifecycleConfiguration(
        name,
        bucket=bucket.bucket,
        region=region,
        rules=lifecycle(values.noncurrent_days),
        opts=scope.child(versioning),  # older versions can only expire where there are any
    )
    return Bucket(bucket, versioning)


def replication(
    scope: Scope,
    name: str,
    here: AccountContract,
    source: tuple[Bucket, StoreContract],
    target: tuple[Bucket, Replica],
) -> aws.s3.BucketReplicationConfig:
    """Copy every version of a bucket to one in another region, within 15 minutes as a rule, and measure it."""
    (of_source, store), (of_target, replica) = source, target
    role = grants.service_role(scope, name, grants.Trust.S3.of_account(here.account_id))
    allowed = grants.replicate_bucket(scope, name, role, store, replica)
    minutes = aws.s3.BucketReplicationConfigRuleDestinationReplicationTimeTimeArgs(minutes=_LAG_MINUTES)
    threshold = aws.s3.BucketReplicationConfigRuleDestinationMetricsEventThresholdArgs(minutes=_LAG_MINUTES)
    rule = aws.s3.BucketReplicationConfigRuleArgs(
        id="everything",
        status="Enabled",
        priority=0,
        filter=aws.s3.BucketReplicationConfigRuleFilterArgs(prefix=""),
        delete_marker_replication=aws.s3.BucketReplicationConfigRuleDeleteMarkerReplicationArgs(status="Enabled"),
        source_selection_criteria=aws.s3.BucketReplicationConfigRuleSourceSelectionCriteriaArgs(
            sse_kms_encrypted_objects=aws.s3.BucketReplicationConfigRuleSourceSelectionCriteriaSseKmsEncryptedObjectsArgs(
                status="Enabled"
            )
        ),
        destination=aws.s3.BucketReplicationConfigRuleDestinationArgs(
            bucket=replica.arn,
            storage_class="STANDARD",
            encryption_configuration=aws.s3.BucketReplicationConfigRuleDestinationEncryptionConfigurationArgs(
                replica_kms_key_id=replica.key_arn
            ),
            replication_time=aws.s3.BucketReplicationConfigRuleDestinationReplicationTimeArgs(
                status="Enabled", time=minutes
            ),
            metrics=aws.s3.BucketReplicationConfigRuleDestinationMetricsArgs(
                status="Enabled", event_threshold=threshold
            ),
        ),
    )
    return aws.s3.BucketReplicationConfig(
        name,
        bucket=of_source.bucket.bucket,
        region=store.region,
        role=role.arn,
        rules=[rule],
        # S3 refuses it until both have their versions on; without the grant it fails silently, object by object
        opts=scope.child(of_source.versioning, of_target.versioning, allowed),
    )


def lifecycle(noncurrent_days: int) -> list[aws.s3.BucketLifecycleConfigurationRuleArgs]:
    """Forget older versions after some days, and uploads that nobody finished."""
    return [
        aws.s3.BucketLifecycleConfigurationRuleArgs(
            id="older-versions",
            status="Enabled",
            filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
            noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                noncurrent_days=noncurrent_days
            ),
            expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(expired_object_delete_marker=True),
        ),
        aws.s3.BucketLifecycleConfigurationRuleArgs(
            id="abandoned-uploads",
            status="Enabled",
            filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
            abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                days_after_initiation=_ABANDONED_UPLOAD_DAYS
            ),
        ),
    ]


def _close(scope: Scope, name: str, bucket: aws.s3.Bucket, key_arn: pulumi.Output[str], region: str) -> None:
    """Keep the public, other owners, plain HTTP and other keys out."""
    aws.s3.BucketOwnershipControls(
        name,
        bucket=bucket.bucket,
        region=region,
        rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
        opts=scope.child(),
    )
    closed = aws.s3.BucketPublicAccessBlock(
        name,
        bucket=bucket.bucket,
        region=region,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=scope.child(),
    )
    aws.s3.BucketPolicy(
        name,
        bucket=bucket.bucket,
        region=region,
        policy=pulumi.Output.all(bucket.arn, key_arn).apply(lambda known: json.dumps(bucket_policy(*known))),
        opts=scope.child(closed),  # S3 refuses to change both at once
    )


def _encryption(key_arn: pulumi.Output[str]) -> aws.s3.BucketServerSideEncryptionConfigurationRuleArgs:
    by_key = aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
        sse_algorithm="aws:kms", kms_master_key_id=key_arn
    )
    return aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
        apply_server_side_encryption_by_default=by_key,
        bucket_key_enabled=True,  # one call to KMS for many objects
    )
