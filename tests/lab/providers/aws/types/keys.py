"""KMS, Secrets Manager and CloudWatch's logs."""

from typing import Any, Final

from tests.lab.providers.aws.spec import Make, Op, Tagging, Type, Work, search

_KEY = {"KeyId": "$id"}


def _rotation(work: Work) -> None:
    work.call("enable_key_rotation" if work.new["enableKeyRotation"] else "disable_key_rotation", KeyId=work.id)


KEY = Type(
    "aws:kms/key:Key",
    "kms",
    create=Make("create_key", result="KeyMetadata.KeyId"),
    read=Op("describe_key", _KEY, "KeyMetadata"),
    delete=lambda work: work.call(
        "schedule_key_deletion", KeyId=work.id, PendingWindowInDays=work.new.get("deletionWindowInDays", 30)
    ),
    later={"enableKeyRotation": _rotation},
    changes={
        "description": Op("update_key_description", {**_KEY, "Description": "$description"}),
        "policy": Op("put_key_policy", {**_KEY, "PolicyName": "default", "Policy": "$policy"}),
    },
    local=frozenset({"deletionWindowInDays"}),
    tells={
        "enableKeyRotation": Op("get_key_rotation_status", _KEY, "KeyRotationEnabled"),
        "policy": Op("get_key_policy", {**_KEY, "PolicyName": "default"}, "Policy"),
    },
    tagging=Tagging("tag_resource", "untag_resource", "KeyId", read="list_resource_tags"),
    outputs={"arn": "Arn", "keyId": "KeyId"},
    ready=("KeyState", frozenset({"Enabled"})),
    gone=frozenset({"PendingDeletion", "PendingReplicaDeletion"}),
)


def _alias(work: Work) -> str:
    work.call("create_alias", AliasName=work.new["name"], TargetKeyId=work.new["targetKeyId"])
    return str(work.new["name"])


ALIAS = Type(
    "aws:kms/alias:Alias",
    "kms",
    create=_alias,
    read=lambda work: search(f"Aliases[?AliasName=='{work.id}'] | [0]", work.call("list_aliases")),
    delete=Op("delete_alias", {"AliasName": "$id"}),
    changes={"targetKeyId": Op("update_alias", {"AliasName": "$id", "TargetKeyId": "$targetKeyId"})},
    tells={"name": "AliasName"},
    outputs={
        "arn": "AliasArn",
        "targetKeyArn": lambda work: work.fill(f"arn:$partition:kms:$region:$account:key/{work.found['TargetKeyId']}"),
    },
    unique=("name",),
)


def _secret(work: Work) -> Any:
    """What waits for its deletion is gone to everybody but whoever wants it back."""
    found = work.call("describe_secret", SecretId=work.id)
    return None if found.get("DeletedDate") else found


def _secret_gone(work: Work) -> None:
    days = work.new.get("recoveryWindowInDays", 30)
    how = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
    work.call("delete_secret", SecretId=work.id, **how)


SECRET = Type(
    "aws:secretsmanager/secret:Secret",
    "secretsmanager",
    create=Make("create_secret", result="ARN"),
    read=_secret,
    delete=_secret_gone,
    changes={"kmsKeyId": Op("update_secret", {"SecretId": "$id", "KmsKeyId": "$kmsKeyId"})},
    local=frozenset({"recoveryWindowInDays"}),
    tagging=Tagging("tag_resource", "untag_resource", "SecretId"),
    outputs={"arn": "ARN"},
    unique=("name",),
)


def _secret_version(work: Work) -> str:
    made = work.call("put_secret_value", SecretId=work.new["secretId"], SecretString=work.new["secretString"])
    return f"{work.new['secretId']}|{made['VersionId']}"


SECRET_VERSION = Type(
    "aws:secretsmanager/secretVersion:SecretVersion",
    "secretsmanager",
    create=_secret_version,
    read=lambda work: work.call(
        "get_secret_value", SecretId=work.new["secretId"], VersionId=work.id.rpartition("|")[2]
    ),
    delete=lambda work: work.id,  # a version goes with its secret, or when newer ones have pushed it out
    tells={"secretId": lambda work: work.new["secretId"]},
    outputs={"arn": "ARN", "versionId": "VersionId", "versionStages": "VersionStages"},
    stays=True,
)

_GROUP = {"logGroupName": "$id"}
_GROUP_ARN = "arn:$partition:logs:$region:$account:log-group:$id"


def _log_group(work: Work) -> str:
    Make("create_log_group", {"logGroupName": "$name"})(work)
    return str(work.new["name"])


LOG_GROUP = Type(
    "aws:cloudwatch/logGroup:LogGroup",
    "logs",
    create=_log_group,
    read=lambda work: search(
        f"logGroups[?logGroupName=='{work.id}'] | [0]", work.call("describe_log_groups", logGroupNamePrefix=work.id)
    ),
    delete=Op("delete_log_group", _GROUP),
    elsewhere=frozenset({"name"}),
    later={"retentionInDays": Op("put_retention_policy", {**_GROUP, "retentionInDays": "$retentionInDays"})},
    changes={"kmsKeyId": Op("associate_kms_key", {**_GROUP, "kmsKeyId": "$kmsKeyId"})},
    tells={"name": "logGroupName"},
    tagging=Tagging(
        "tag_resource",
        "untag_resource",
        "resourceArn",
        of=_GROUP_ARN,
        tags="tags",
        keys="tagKeys",
        read="list_tags_for_resource",
    ),
    outputs={"arn": lambda work: work.fill(_GROUP_ARN)},
    unique=("name",),
)

TYPES: Final = (KEY, ALIAS, SECRET, SECRET_VERSION, LOG_GROUP)
