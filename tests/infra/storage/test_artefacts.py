"""Stores: private, encrypted, versioned, copied to the other region, and reached by S3 on both clouds."""

import json

import pytest

from infra.storage.artefacts import stores
from infra.storage.bucket_policies import bucket_policy
from infra.storage.keys import keys
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings, declare

BUCKET = "aws:s3/bucket:Bucket"
VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
REPLICATION = "aws:s3/bucketReplicationConfig:BucketReplicationConfig"
CONTAINER = "openstack:objectstorage/container:Container"
REPLICATED = {"cloud.storage.replica_region": "eu-west-1"}
CEPH = {"sites.1.openstack.object_store": {"kind": "ceph", "endpoint": "https://rgw.example.org"}}


def declared(**overrides):
    settings = cloud_settings(**overrides)

    def program(scope):
        here = fakes.account()
        return stores(scope, settings, here, keys(scope, settings, here))

    return declare(program, settings)


@pytest.mark.parametrize(
    "guard",
    [
        "bucketOwnershipControls:BucketOwnershipControls",
        "bucketPublicAccessBlock:BucketPublicAccessBlock",
        "bucketPolicy:BucketPolicy",
        "bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "bucketVersioning:BucketVersioning",
        "bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    ],
)
def test_every_bucket_has_every_guard_in_its_own_region(guard):
    program = declared(**REPLICATED)
    buckets = {(b.inputs["bucket"], b.inputs["region"]) for b in program.of_type(BUCKET)}
    assert buckets == {
        ("isthmus-dev-aws-1-artefacts-123456789012", "eu-central-1"),
        ("isthmus-dev-aws-1-replica-123456789012", "eu-west-1"),
    }
    guards = program.of_type(f"aws:s3/{guard}")
    assert {(g.inputs["bucket"], g.inputs["region"]) for g in guards} == buckets


def test_nothing_of_a_bucket_is_public():
    block = declared().one("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock").inputs
    assert [block[key] for key in block if "ublic" in key] == [True] * 4


def test_objects_are_encrypted_with_the_key_of_their_region():
    program = declared(**REPLICATED)
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    found = {}
    for part in program.of_type(kind):
        (rule,) = part.inputs["rules"]
        assert rule["bucketKeyEnabled"]
        found[part.inputs["region"]] = rule["applyServerSideEncryptionByDefault"]
    assert {by["sseAlgorithm"] for by in found.values()} == {"aws:kms"}
    assert found["eu-central-1"]["kmsMasterKeyId"] == program.result["aws-1"].key_arn
    assert found["eu-west-1"]["kmsMasterKeyId"] != found["eu-central-1"]["kmsMasterKeyId"]


def test_a_bucket_allows_nothing_and_turns_away_what_is_not_safe():
    statements = {s["Sid"]: s for s in bucket_policy("arn:aws:s3:::b", "arn:aws:kms:r:1:key/k")["Statement"]}
    assert {s["Effect"] for s in statements.values()} == {"Deny"}
    assert statements["PlainHttp"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statements["PlainHttp"]["Resource"] == ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]
    assert statements["OtherEncryption"]["Condition"]["StringNotEquals"] == {
        "s3:x-amz-server-side-encryption": "aws:kms"
    }
    # without this a plain PutObject, which the default encrypts, would be turned away: a negated match holds for a
    # key that is absent
    assert set(statements["OtherKey"]["Condition"]["Null"].values()) == {"false"}
    assert list(statements["OtherKey"]["Condition"]["ArnNotEquals"].values()) == ["arn:aws:kms:r:1:key/k"]


def test_older_versions_and_abandoned_uploads_end():
    program = declared(**{"cloud.storage.noncurrent_days": 30})
    versions, uploads = program.one("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration").inputs["rules"]
    assert versions["noncurrentVersionExpiration"] == {"noncurrentDays": 30}
    assert uploads["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}


def test_replication_waits_for_the_versions_of_both_buckets_and_for_its_grant():
    program = declared(**REPLICATED)
    needed = {v.urn for v in program.of_type(VERSIONING)} | {program.one("aws:iam/rolePolicy:RolePolicy").urn}
    assert needed <= set(program.one(REPLICATION).depends_on)


def test_replication_copies_what_is_encrypted_and_what_is_deleted():
    program = declared(**REPLICATED)
    (rule,) = program.one(REPLICATION).inputs["rules"]
    assert rule["sourceSelectionCriteria"]["sseKmsEncryptedObjects"]["status"] == "Enabled"
    assert rule["deleteMarkerReplication"]["status"] == "Enabled"
    replica = program.one("aws:kms/replicaKey:ReplicaKey").urn.rpartition("::")[2]
    assert rule["destination"]["encryptionConfiguration"]["replicaKmsKeyId"].endswith(replica)
    assert rule["destination"]["metrics"]["status"] == "Enabled"
    assert program.result["aws-1"].replica == "isthmus-dev-aws-1-replica-123456789012"


def test_the_role_of_replication_is_taken_by_s3_for_this_account_and_uses_each_key_in_its_region():
    program = declared(**REPLICATED)
    (trust,) = json.loads(program.one("aws:iam/role:Role").inputs["assumeRolePolicy"])["Statement"]
    assert trust["Principal"] == {"Service": "s3.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    allowed = json.loads(program.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"])["Statement"]
    by_key = {s["Condition"]["StringEquals"]["kms:ViaService"]: s["Action"] for s in allowed if "Condition" in s}
    assert by_key == {
        "s3.eu-central-1.amazonaws.com": ["kms:Decrypt"],
        "s3.eu-west-1.amazonaws.com": ["kms:Encrypt", "kms:GenerateDataKey"],
    }


def test_without_a_replica_region_nothing_is_in_another():
    program = declared()
    assert program.of_type(REPLICATION) == []
    assert {r.inputs["region"] for r in program.resources if r.type.startswith("aws:s3/")} == {"eu-central-1"}


def test_a_recovery_reads_the_replica_by_name_and_declares_nothing_of_it():
    program = declared(**{"cloud.storage.restore_from": "isthmus-prod-aws-1-replica-123456789012"})
    assert program.result["aws-1"].restore_from == "isthmus-prod-aws-1-replica-123456789012"
    assert all("prod" not in json.dumps(r.inputs, default=str) for r in program.resources)


def test_what_holds_artefacts_is_protected_and_only_labs_may_erase_it():
    program = declared(**{"cloud.protect": True, **REPLICATED})
    kept = [*program.of_type(BUCKET), program.one(CONTAINER)]
    assert all(store.protect and not store.inputs["forceDestroy"] for store in kept)
    assert declared(**{"cloud.storage.erasable": True}).one(BUCKET).inputs["forceDestroy"]


def test_a_swift_container_keeps_versions_and_its_keys_are_secrets():
    program = declared()
    assert program.one(CONTAINER).inputs["versioning"] is True
    store = program.result["os-1"]
    assert (store.url, store.endpoint, store.region) == (
        "s3://isthmus-dev-os-1-artefacts",
        "https://object-store.example.org",
        "RegionOne",
    )
    holders = [r for r in program.resources if "ec2-secret" in json.dumps(r.inputs, default=str)]
    kept = {r.type.rpartition(":")[2]: r for r in holders}
    assert set(kept) == {"SecretV1", "SecretVersion"}
    for holder, field in (("SecretV1", "payload"), ("SecretVersion", "secretString")):
        assert field in kept[holder].secrets
        assert json.loads(kept[holder].inputs[field]) == {"access_key": "EC2ACCESS", "secret_key": "ec2-secret"}


def test_the_keys_of_the_container_are_kept_under_the_artefacts_key_and_copied_with_them():
    kind = "aws:secretsmanager/secret:Secret"
    secret = declared(**REPLICATED).one(kind)
    assert secret.inputs["kmsKeyId"].endswith("key/artefacts-key")
    (copy,) = secret.inputs["replicas"]
    assert copy["region"] == "eu-west-1"
    assert copy["kmsKeyId"].endswith("artefacts-key-replica")
    assert secret.inputs["recoveryWindowInDays"] == 30
    assert declared(**{"cloud.storage.erasable": True}).one(kind).inputs["recoveryWindowInDays"] == 0


def test_a_container_of_ceph_gets_its_versions_by_s3_with_the_keys_just_drawn():
    program = declared(**CEPH)
    assert "versioning" not in program.one(CONTAINER).inputs
    interface = next(r for r in program.of_type("pulumi:providers:aws") if r.name == "os-1-artefacts-s3")
    assert interface.secrets >= {"accessKey", "secretKey"}
    assert json.loads(interface.inputs["endpoints"]) == [{"s3": "https://rgw.example.org"}]
    (versioning,) = [v for v in program.of_type(VERSIONING) if v.provider.startswith(interface.urn)]
    assert versioning.inputs["bucket"] == "isthmus-dev-os-1-artefacts"


def test_pods_reach_an_emulated_s3_as_the_engine_does():
    assert declared().result["aws-1"].endpoint is None
    emulated = declared(**{"sites.0.aws.endpoints": {"s3": "http://10.10.0.1:4566"}})
    assert emulated.result["aws-1"].endpoint == "http://10.10.0.1:4566"
