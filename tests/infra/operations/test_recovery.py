"""What goes from a primary to its copy for a disaster, and that nothing else is taken for it."""

import json

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from typer.testing import CliRunner

from infra.operations import cli, preflight
from infra.operations.cloud_preflight import check_values
from infra.operations.recovery import PLACEHOLDER, recovery_values, require_key
from infra.operations.stack_files import tracked
from infra.settings import ROOT, stack_config
from tests.kit.cloud import cloud_settings
from workloads.spec.errors import UserError


def pem(private):
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.public_key().public_bytes(*form).decode()


KEY = pem(ec.generate_private_key(ec.SECP256R1()))
OUTPUTS = {
    "recovery": {"restore_from": {"aws-1": "isthmus-prod-aws-1-replica-123456789012"}, "trusted_key": KEY},
    "registry": "http://registry",
}


def trusting(key):
    return cloud_settings("dr", **{"cloud.recovery.trusted_key": key})


@pytest.mark.parametrize("key", [PLACEHOLDER, PLACEHOLDER.rstrip("\n")])
def test_the_placeholder_is_refused_with_the_command_that_prints_the_right_one(key):
    with pytest.raises(UserError) as caught:
        require_key(trusting(key))
    line = str(caught.value)
    assert "\n" not in line
    assert "cloud.recovery.trusted_key is the placeholder" in line
    assert "no model of the primary would be served" in line
    assert line.endswith("; set it to what `isthmus recovery --stack PRIMARY` prints")


def test_neither_up_nor_a_preflight_takes_it():
    with pytest.raises(UserError, match="is the placeholder"):
        preflight.check(trusting(PLACEHOLDER), ROOT)
    (found,) = [check for check in check_values(trusting(PLACEHOLDER)) if check.subject == "trusted keys"]
    assert found.failed
    assert "isthmus recovery --stack PRIMARY" in found.remedy


@pytest.mark.parametrize(
    "key",
    [
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["no key", "of another kind", "on another curve"],
)
def test_a_key_that_no_model_is_signed_with_is_refused(key):
    with pytest.raises(UserError, match=r"trusted_key \S+… is no public key on P-256") as caught:
        require_key(trusting(key))
    assert "\n" not in str(caught.value)


def test_the_primary_s_key_is_taken_and_a_stack_that_recovers_nothing_needs_none():
    preflight.check(trusting(KEY), ROOT)
    assert "isthmus-prod-aws-1-replica-" in require_key(trusting(KEY))
    assert require_key(cloud_settings("prod")) == "its own alone"


def test_the_tracked_copy_has_the_placeholder_or_a_key():
    settings = cloud_settings("dr")
    if settings.of_cloud.recovery.trusted_key.split() != PLACEHOLDER.split():
        require_key(settings)


def test_what_the_primary_prints_is_what_the_copy_s_stack_file_takes():
    printed = yaml.safe_load(recovery_values(OUTPUTS, "prod"))["isthmus:cloud"]
    tracked_values = stack_config(tracked("dr"))["isthmus:cloud"]
    for part, values in printed.items():
        assert set(values) <= set(tracked_values[part])
    changes = {f"cloud.{part}.{key}": value for part, values in printed.items() for key, value in values.items()}
    copy = cloud_settings("dr", **changes).of_cloud
    assert copy.recovery.trusted_key == KEY
    assert copy.storage.restore_from == "isthmus-prod-aws-1-replica-123456789012"
    assert "trusted_key: |\n" in recovery_values(OUTPUTS, "prod"), "a key in one line with \\n is nothing to paste"


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({}, "stack prod exports nothing under recovery; run `make up STACK=prod`"),
        (
            {"recovery": {"trusted_key": KEY, "restore_from": {}}},
            "no copy in another region .*; set cloud.storage.replica_region",
        ),
    ],
)
def test_a_primary_that_has_nothing_to_recover_from_says_why(outputs, said):
    with pytest.raises(UserError, match=said):
        recovery_values(outputs, "prod")


def test_the_command_prints_it_and_nothing_else(monkeypatch, tmp_path):
    class Session:
        def ask(self, *words):
            assert words == ("stack", "output", "--json")
            return json.loads(json.dumps(OUTPUTS))

    monkeypatch.setattr(cli, "open_session", lambda *_, **__: Session())
    done = CliRunner().invoke(cli.app, ["recovery", "--stack", "prod", "--state", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, recovery_values(OUTPUTS, "prod"))
