"""Keys: one a purpose, rotated, with a policy that lets in no more than it must."""

import json

import pytest

from infra.storage.key_policies import PURPOSES, key_policy
from infra.storage.keys import keys
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings, declare

KEY, REPLICA, ALIAS = "aws:kms/key:Key", "aws:kms/replicaKey:ReplicaKey", "aws:kms/alias:Alias"


def declared(**overrides):
    settings = cloud_settings(**overrides)
    return declare(lambda scope: keys(scope, settings, fakes.account()), settings)


def test_each_purpose_has_a_key_that_rotates_and_an_alias():
    program = declared()
    assert set(program.result) == {"cluster", "artefacts", "logs"}
    assert all(key.inputs["enableKeyRotation"] for key in program.of_type(KEY))
    assert [alias.inputs["name"] for alias in program.of_type(ALIAS)] == [
        "alias/isthmus-dev-artefacts",
        "alias/isthmus-dev-cluster",
        "alias/isthmus-dev-logs",
    ]
    assert program.of_type(REPLICA) == []


def test_the_artefacts_key_alone_has_a_replica_and_it_is_in_the_other_region():
    program = declared(**{"cloud.storage.replica_region": "eu-west-1"})
    replica = program.one(REPLICA)
    assert replica.inputs["region"] == "eu-west-1"
    assert [key.name for key in program.of_type(KEY) if key.inputs["multiRegion"]] == ["artefacts-key"]
    assert replica.inputs["primaryKeyArn"] == program.result["artefacts"].arn
    assert program.result["artefacts"].replica_arn is not None
    assert program.result["logs"].replica_arn is None
    there = [alias.inputs["name"] for alias in program.of_type(ALIAS) if alias.inputs.get("region") == "eu-west-1"]
    assert there == ["alias/isthmus-dev-artefacts"]


def test_keys_are_protected_where_the_stack_says_so():
    program = declared(**{"cloud.protect": True, "cloud.storage.replica_region": "eu-west-1"})
    assert all(key.protect for key in (*program.of_type(KEY), *program.of_type(REPLICA)))


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_account_can_always_change_its_key(purpose):
    first = key_policy(purpose, "123456789012", "aws-us-gov", "us-gov-west-1")["Statement"][0]
    assert first["Principal"] == {"AWS": "arn:aws-us-gov:iam::123456789012:root"}


@pytest.mark.parametrize("purpose", PURPOSES)
def test_whoever_is_not_the_account_is_bound_by_a_condition(purpose):
    for statement in key_policy(purpose, "123456789012", "aws", "eu-central-1")["Statement"][1:]:
        assert "123456789012" in json.dumps(statement["Condition"])
        assert "eu-central-1" in json.dumps(statement)
        assert "kms:*" not in statement["Action"]


def test_the_service_of_logs_encrypts_the_log_groups_of_this_account():
    (logs,) = [s for s in key_policy("logs", "1", "aws", "eu-west-1")["Statement"] if "Service" in s["Principal"]]
    assert logs["Principal"] == {"Service": "logs.eu-west-1.amazonaws.com"}
    assert logs["Condition"] == {
        "ArnLike": {"kms:EncryptionContext:aws:logs:arn": "arn:aws:logs:eu-west-1:1:log-group:*"}
    }


def test_a_replica_has_the_policy_of_its_own_region():
    program = declared(**{"cloud.storage.replica_region": "eu-west-1"})
    assert json.loads(program.one(REPLICA).inputs["policy"]) == key_policy(
        "artefacts", "123456789012", "aws", "eu-west-1"
    )


def test_there_is_no_key_without_a_purpose():
    with pytest.raises(KeyError, match="spare"):
        key_policy("spare", "1", "aws", "eu-west-1")
