"""The signing pair: each half where it is needed, the private one nowhere in the open."""

from infra.access.signing import signing_keys
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings, declare

TRUSTED = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"


def declared(**overrides):
    settings = cloud_settings(**overrides)
    return declare(lambda scope: signing_keys(fakes.inside(scope), settings, fakes.namespaces()), settings)


def test_the_private_half_is_a_secret_where_models_are_made():
    secret = declared().one("kubernetes:core/v1:Secret")
    assert secret.inputs["metadata"]["namespace"] == "isthmus-training"
    assert secret.inputs["stringData"] == {"private.pem": "PRIVATE PEM"}
    assert "stringData" in secret.secrets


def test_the_public_half_is_where_models_are_served():
    program = declared()
    config = program.one("kubernetes:core/v1:ConfigMap")
    assert config.inputs["metadata"]["namespace"] == "isthmus-serving"
    assert config.inputs["data"] == {"public.pem": "PUBLIC PEM"}
    assert (program.result.private_secret, program.result.public_config) == ("signing-key", "signing-key")
    assert program.result.public_pem == "PUBLIC PEM"


def test_the_private_half_is_nowhere_else():
    program = declared()
    holders = [r.type for r in program.resources if "PRIVATE PEM" in str(r.inputs)]
    assert holders == ["kubernetes:core/v1:Secret"]


def test_a_recovery_trusts_the_key_of_the_platform_that_it_replaces():
    config = declared(**{"cloud.recovery.trusted_key": TRUSTED}).one("kubernetes:core/v1:ConfigMap")
    assert config.inputs["data"] == {"public.pem": "PUBLIC PEM", "recovered.pem": TRUSTED}


def test_the_pair_is_drawn_by_the_platforms_own_provider_and_protected():
    pair = declared(**{"cloud.protect": True}).one("isthmus:keys:SigningKey")
    assert "pulumi:providers:isthmus" in pair.provider
    assert pair.protect
