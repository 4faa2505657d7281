"""Who is turned away from a bucket, whatever else allows it. Pure."""

from typing import Any

from infra.access.statements import VERSION

_MINIMUM_TLS = "1.2"


def bucket_policy(bucket_arn: str, key_arn: str) -> dict[str, Any]:
    """Only over TLS, and only encrypted with the bucket's own key.

    A header that is absent is no fault: the bucket's default encrypts then. Grants are the roles' business, so that
    nothing is allowed here.
    """
    objects = f"{bucket_arn}/*"
    encryption, key = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
    return {
        "Version": VERSION,
        "Statement": [
            _deny("PlainHttp", "s3:*", [bucket_arn, objects], {"Bool": {"aws:SecureTransport": "false"}}),
            _deny("OldTls", "s3:*", [bucket_arn, objects], {"NumericLessThan": {"s3:TlsVersion": _MINIMUM_TLS}}),
            _deny(
                "OtherEncryption",
                "s3:PutObject",
                objects,
                {"Null": {encryption: "false"}, "StringNotEquals": {encryption: "aws:kms"}},
            ),
            _deny("OtherKey", "s3:PutObject", objects, {"Null": {key: "false"}, "ArnNotEquals": {key: key_arn}}),
        ],
    }


def _deny(sid: str, action: str, resource: str | list[str], condition: dict[str, Any]) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resource,
        "Condition": condition,
    }
