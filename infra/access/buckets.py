"""What a role may do with a store's bucket, its objects and the key that encrypts them. Pure, but for its leaves."""

from dataclasses import dataclass

import pulumi

from infra.access.statements import Statement
from infra.cloud_contracts import StoreContract
from workloads.spec.errors import UserError

_READ = ("s3:GetObject", "s3:GetObjectVersion")
_WRITE = (*_READ, "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject")


@dataclass(frozen=True)
class Replica:
    """The bucket of the other region that a store is copied to."""

    arn: pulumi.Output[str]
    key_arn: pulumi.Output[str]
    region: str


def reading(store: StoreContract) -> tuple[Statement, ...]:
    """List the bucket, read its objects and decrypt them. Raises `UserError` for a store that is not on AWS."""
    return (*_allowed(store, _READ, ("kms:Decrypt",)), *_restoring(store))


def writing(store: StoreContract) -> tuple[Statement, ...]:
    """Read, put and delete objects; older versions stay. Raises `UserError` for a store that is not on AWS."""
    return (*_allowed(store, _WRITE, ("kms:Decrypt", "kms:GenerateDataKey")), *_restoring(store))


def replicating(source: StoreContract, target: Replica) -> tuple[Statement, ...]:
    """What S3 needs to copy a bucket that is encrypted with a customer's key.

    From the S3 guide, "Setting up permissions for live replication" and "Replicating encrypted objects".
    """
    arn, key_arn = _on_aws(source)
    assert key_arn is not None  # noqa: S101 - a store of the stack's own is encrypted
    read = (
        "s3:GetObjectVersionAcl",
        "s3:GetObjectVersionForReplication",
        "s3:GetObjectVersionTagging",
    )
    write = ("s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags")
    return (
        Statement(("s3:GetReplicationConfiguration", "s3:ListBucket"), (arn,)),
        Statement(read, (pulumi.Output.concat(arn, "/*"),)),
        Statement(write, (pulumi.Output.concat(target.arn, "/*"),)),
        Statement(("kms:Decrypt",), (key_arn,), _through_s3(source.region)),
        Statement(("kms:Encrypt", "kms:GenerateDataKey"), (target.key_arn,), _through_s3(target.region)),
    )


def _allowed(store: StoreContract, on_objects: tuple[str, ...], on_key: tuple[str, ...]) -> tuple[Statement, ...]:
    arn, key_arn = _on_aws(store)
    allowed = (
        Statement(("s3:GetBucketLocation", "s3:ListBucket"), (arn,)),
        Statement(on_objects, (pulumi.Output.concat(arn, "/*"),)),
    )
    return (*allowed, Statement(on_key, (key_arn,), _through_s3(store.region))) if key_arn is not None else allowed


def _restoring(store: StoreContract) -> tuple[Statement, ...]:
    """Read what a lost platform left here.

    Its key is known by nothing that survived, so it is named by what it decrypts: the context of S3's encryption is
    the bucket, with a bucket key, or else the object (S3 guide, "Encryption context").
    """
    if store.restore_from is None:
        return ()
    arn, _ = _on_aws(store)
    bucket = arn.apply(lambda known: f"{known.partition(':::')[0]}:::{store.restore_from}")
    keys = arn.apply(lambda known: f"arn:{known.split(':')[1]}:kms:{store.region}:*:key/*")
    of_bucket = {"kms:EncryptionContext:aws:s3:arn": [bucket, pulumi.Output.concat(bucket, "/*")]}
    return (
        Statement(("s3:GetBucketLocation", "s3:ListBucket"), (bucket,)),
        Statement(_READ, (pulumi.Output.concat(bucket, "/*"),)),
        Statement(("kms:Decrypt",), (keys,), {**_through_s3(store.region), "StringLike": of_bucket}),
    )


def _on_aws(store: StoreContract) -> tuple[pulumi.Output[str], pulumi.Output[str] | None]:
    if store.arn is None:
        raise UserError(f"store of site {store.site} is not on AWS, so no role reaches it; give its keys to the pods")
    return store.arn, store.key_arn


def _through_s3(region: str) -> dict[str, dict[str, str]]:
    return {"StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"}}
