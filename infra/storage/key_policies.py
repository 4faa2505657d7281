"""Key policies, written out. Pure: names of accounts and regions in, a policy document out."""

from collections.abc import Mapping
from typing import Any

VERSION = "2012-10-17"

_USE = (
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)


def key_policy(purpose: str, account_id: str, partition: str, region: str) -> dict[str, Any]:
    """The policy of the key of a purpose in a region.

    The account's root stands first in each: without it nobody could ever change the key again, and through it the
    account's own IAM policies, which are `infra.access.grants`, say who uses the key (AWS KMS guide, "Default key
    policy"). Services that act in nobody's name have a statement of their own.

    Raises:
        KeyError: there is no key of that purpose.
    """
    root = {
        "Sid": "Account",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account_id}:root"},
        "Action": "kms:*",
        "Resource": "*",  # of a key policy: this key
    }
    services = _SERVICES[purpose](account_id, partition, region)
    return {"Version": VERSION, "Statement": [root, *services]}


def _logs(account_id: str, partition: str, region: str) -> list[dict[str, Any]]:
    """CloudWatch Logs encrypts log groups of this account and of nobody else.

    From the CloudWatch Logs guide, "Encrypt log data in CloudWatch Logs using AWS KMS".
    """
    groups = f"arn:{partition}:logs:{region}:{account_id}:log-group:*"
    return [
        {
            "Sid": "LogGroups",
            "Effect": "Allow",
            "Principal": {"Service": f"logs.{region}.amazonaws.com"},
            "Action": list(_USE),
            "Resource": "*",
            "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
        }
    ]


def _cluster(account_id: str, partition: str, region: str) -> list[dict[str, Any]]:
    """Volumes of nodes: whoever of this account may start instances there uses the key through EC2 alone.

    Auto Scaling's service-linked role is among them and may not be there yet, so that no ARN can name it. The same
    statement guards `alias/aws/ebs`.
    """
    del partition
    through = {"kms:CallerAccount": account_id, "kms:ViaService": f"ec2.{region}.amazonaws.com"}
    return [
        {
            "Sid": "VolumesOfNodes",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": [*_USE, "kms:CreateGrant"],
            "Resource": "*",
            "Condition": {"StringEquals": through},
        }
    ]


def _artefacts(account_id: str, partition: str, region: str) -> list[dict[str, Any]]:
    """S3, ECR and Secrets Manager use the key in their caller's name: the account's statement is enough."""
    del account_id, partition, region
    return []


_SERVICES: Mapping[str, Any] = {"cluster": _cluster, "artefacts": _artefacts, "logs": _logs}

PURPOSES = tuple(_SERVICES)
"""What there is a key for."""
