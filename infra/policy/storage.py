"""Rules on what is stored: nothing public, everything encrypted, secrets known to be secrets."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.policy.rule import (
    Config,
    Finding,
    Resource,
    Rule,
    Secret,
    StackRule,
    Unknown,
    belonging,
    items,
    known,
    mapping,
    maybe,
    of_type,
)

_BUCKET: Final = "aws:s3/bucket:Bucket"
_BLOCK: Final = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
_POLICY: Final = "aws:s3/bucketPolicy:BucketPolicy"
_ENCRYPTION: Final = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
)
_BLOCKS: Final = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_NARROWING: Final = frozenset(
    f"aws:{key}"
    for key in (
        "principalaccount",
        "principalorgid",
        "sourceaccount",
        "sourcearn",
        "sourceorgid",
        "sourcevpc",
        "sourcevpce",
    )
)
"""Condition keys that AWS's block of public policies takes as narrow: S3 guide, "The meaning of public"."""
_CONTAINER: Final = "openstack:objectstorage/container:Container"


def public_buckets(resource: Resource, _: Config) -> list[str]:
    """No way into a bucket for whoever comes."""
    props = resource.props
    if str(props.get("acl", "")).startswith("public"):
        return [f"bucket {resource.name} has acl {props['acl']}, limit private; leave acl out"]
    if resource.type == _BLOCK:
        open_ = [name for name in _BLOCKS if not maybe(props.get(name), wanted=True)]
        return [f"access block {resource.name} leaves {', '.join(open_)} off, all four must be on; set them"] * any(
            open_
        )
    if resource.type == _POLICY:
        return [
            f"bucket policy {resource.name} allows everybody {statement.get('Action')}, limit named principals; "
            "name them, or add a condition on the account or organisation"
            for statement in statements(props.get("policy"))
            if statement.get("Effect") == "Allow" and _everybody(statement) and not _narrowed(statement)
        ]
    if resource.type == _CONTAINER and ".r:" in str(props.get("containerRead", "")):
        return [f"container {resource.name} is read by {props['containerRead']}, limit this project; leave it out"]
    return []


def bucket_guards(resources: Sequence[Resource], _: Config) -> list[Finding]:
    """Each bucket has everything that makes it fit to hold artefacts."""
    findings = []
    for bucket in of_type(resources, _BUCKET):
        absent = [
            f"{what} (aws.s3.{kind})"
            for what, kind, present in (
                ("a public access block", "BucketPublicAccessBlock", _has(resources, bucket, _BLOCK)),
                ("encryption", "BucketServerSideEncryptionConfiguration", _has(resources, bucket, *_ENCRYPTION)),
                ("a policy that refuses plain HTTP", "BucketPolicy", _refuses_plain_http(resources, bucket)),
            )
            if not present
        ]
        if absent:
            findings.append(Finding(f"bucket {bucket.name} lacks {', '.join(absent)}; declare them", bucket.urn))
    return findings


def _has(resources: Sequence[Resource], bucket: Resource, *types: str) -> bool:
    return bool(belonging(resources, bucket, "bucket", *types))


def _refuses_plain_http(resources: Sequence[Resource], bucket: Resource) -> bool:
    for policy in belonging(resources, bucket, "bucket", _POLICY):
        if isinstance(policy.props.get("policy"), Unknown):
            return True  # it names the bucket's own ARN, which a preview does not know
        for statement in statements(policy.props.get("policy")):
            secure = mapping(mapping(statement.get("Condition")).get("Bool")).get("aws:SecureTransport")
            if statement.get("Effect") == "Deny" and str(secure).lower() == "false":
                return True
    return False


def encryption(resource: Resource, _: Config) -> list[str]:
    """What can be encrypted is, by a key of the account's own where the service takes one."""
    missing = _UNENCRYPTED.get(resource.type)
    return [f"{resource.name}: {text}" for text in missing(resource.props)] if missing else []


def _volume(props: Mapping[str, Any]) -> list[str]:
    fine = maybe(props.get("encrypted"), wanted=True)
    return [] if fine else ["volume is not encrypted; set encrypted: true"]


def _launch_template(props: Mapping[str, Any]) -> list[str]:
    devices = items(props.get("blockDeviceMappings"))
    plain = [
        device.get("deviceName", "?")
        for device in devices
        # EC2 and the API's own maps write booleans as text here
        if str(mapping(device.get("ebs")).get("encrypted")).lower() != "true" and known(device.get("ebs"))
    ]
    return [f"volumes {', '.join(plain)} are not encrypted; set ebs.encrypted: true"] if plain else []


def _instance(props: Mapping[str, Any]) -> list[str]:
    root = mapping(props.get("rootBlockDevice"))
    fine = isinstance(props.get("rootBlockDevice"), Unknown) or maybe(root.get("encrypted"), wanted=True)
    return [] if fine else ["root volume is not encrypted; set root_block_device.encrypted: true"]


def _cluster(props: Mapping[str, Any]) -> list[str]:
    settings = props.get("encryptionConfig")
    fine = isinstance(settings, Unknown) or "secrets" in items(mapping(settings).get("resources"))
    return [] if fine else ["secrets of Kubernetes are not encrypted by a key; set encryption_config for [secrets]"]


def _repository(props: Mapping[str, Any]) -> list[str]:
    settings = props.get("encryptionConfigurations")
    kinds = [entry.get("encryptionType") for entry in items(settings)]
    fine = isinstance(settings, Unknown) or any(maybe(kind, wanted="KMS") for kind in kinds)
    return [] if fine else [f"images are encrypted by {kinds or 'AES256'}, limit KMS; set encryption_configurations"]


def _own_key(props: Mapping[str, Any]) -> list[str]:
    return [] if props.get("kmsKeyId") is not None else ["no key of the account's own; set kms_key_id"]


def _rotating(props: Mapping[str, Any]) -> list[str]:
    fine = maybe(props.get("enableKeyRotation"), wanted=True)
    return [] if fine else ["key is never rotated; set enable_key_rotation: true"]


def _database(props: Mapping[str, Any]) -> list[str]:
    fine = maybe(props.get("storageEncrypted"), wanted=True)
    return [] if fine else ["database is not encrypted; set storage_encrypted: true"]


def _server_side(props: Mapping[str, Any]) -> list[str]:
    kinds = [
        mapping(mapping(rule).get("applyServerSideEncryptionByDefault")).get("sseAlgorithm")
        for rule in items(props.get("rules"))
    ]
    fine = isinstance(props.get("rules"), Unknown) or any(maybe(kind, wanted="aws:kms") for kind in kinds)
    return [] if fine else [f"objects are encrypted by {kinds or 'nothing'}, limit aws:kms; set sse_algorithm"]


_UNENCRYPTED: Final = {
    "aws:ebs/volume:Volume": _volume,
    "aws:ec2/launchTemplate:LaunchTemplate": _launch_template,
    "aws:ec2/instance:Instance": _instance,
    "aws:ecr/repository:Repository": _repository,
    "aws:efs/fileSystem:FileSystem": _volume,
    "aws:eks/cluster:Cluster": _cluster,
    "aws:kms/key:Key": _rotating,
    "aws:rds/instance:Instance": _database,
    "aws:secretsmanager/secret:Secret": _own_key,
    **dict.fromkeys(_ENCRYPTION, _server_side),
}

_SECRET_INPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "aws:ec2/vpnConnection:VpnConnection": ("tunnel1PresharedKey", "tunnel2PresharedKey"),
    "aws:secretsmanager/secretVersion:SecretVersion": ("secretString", "secretBinary"),
    "kubernetes:core/v1:Secret": ("data", "stringData"),
    "openstack:keymanager/secretV1:SecretV1": ("payload",),
    "openstack:vpnaas/siteConnection:SiteConnection": ("psk",),
}
"""Inputs that the SDKs do not mark by themselves: the engine would keep them in plain text."""


def secret_inputs(resource: Resource, _: Config) -> list[str]:
    """What is secret is told to the engine."""
    return [
        f"{resource.name}: {name} is plain text in the state, limit a secret; wrap it in pulumi.Output.secret"
        for name in _SECRET_INPUTS.get(resource.type, ())
        if known(resource.props.get(name)) and not _hidden(resource.props[name])
    ]


def _hidden(value: Any) -> bool:
    if isinstance(value, Secret | Unknown):
        return True
    return isinstance(value, Mapping) and all(_hidden(entry) for entry in value.values())


def statements(policy: Any) -> list[Mapping[str, Any]]:
    """The statements of a policy document in JSON; none where it is not known yet."""
    if not isinstance(policy, str):
        return []
    found = json.loads(policy).get("Statement", [])
    return [found] if isinstance(found, Mapping) else list(found)


def _narrowed(statement: Mapping[str, Any]) -> bool:
    """Whether a condition leaves whoever is not of an account, an organisation or a network outside."""
    keys = {key.lower() for operator in mapping(statement.get("Condition")).values() for key in mapping(operator)}
    return bool(keys & _NARROWING)


def _everybody(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    named = principal.values() if isinstance(principal, Mapping) else [principal]
    return any("*" in (entry if isinstance(entry, list) else [entry]) for entry in named)


RULES: Final = (
    Rule("public-buckets", "No bucket or container is open to whoever comes.", public_buckets),
    StackRule(
        "bucket-guards",
        "Each bucket has its public access block, its encryption and a policy that refuses plain HTTP.",
        bucket_guards,
    ),
    Rule(
        "encryption",
        "Volumes, clusters' secrets, images, secrets and databases are encrypted, and keys rotate.",
        encryption,
    ),
    Rule(
        "secret-inputs",
        "Payloads, pre-shared keys and Kubernetes secrets are secrets to the engine as well.",
        secret_inputs,
        sees_secrets=True,
    ),
)
