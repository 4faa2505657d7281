"""Images: by reference as they are, or built once for what they are made of."""

from infra.apps.images import images
from infra.providers import plugins_of
from infra.storage.repositories import repositories
from tests.kit.cloud import cloud_settings, declare

IMAGE = "docker-build:index:Image"
PROVIDER = "pulumi:providers:docker-build"
GIVEN = {
    f"cloud.images.{name}": f"registry.example.org/{name}:1@sha256:{'a' * 64}"
    for name in ("trainer", "inference", "registry")
}


def declared(**overrides):
    settings = cloud_settings(**overrides)
    return declare(lambda scope: images(scope, settings, repositories(scope, settings)), settings)


def test_given_references_are_named_as_they_are_and_nothing_of_docker_is_declared():
    program = declared(**GIVEN)
    assert program.result.trainer == GIVEN["cloud.images.trainer"]
    assert [r.type for r in program.resources if "docker" in r.type] == []
    assert "docker-build" not in plugins_of(cloud_settings(**GIVEN))


def test_what_is_built_is_named_by_digest():
    program = declared()
    for reference in (program.result.trainer, program.result.inference, program.result.registry):
        repository, _, digest = reference.partition("@")
        assert digest.startswith("sha256:")
        assert ".dkr.ecr." in repository
    assert "docker-build" in plugins_of(cloud_settings())


def test_only_what_has_no_reference_is_built():
    program = declared(**{**GIVEN, "cloud.images.trainer": None})
    assert program.one(IMAGE).name == "trainer"
    assert program.result.inference == GIVEN["cloud.images.inference"]


def test_builds_use_a_builder_of_their_own_and_no_preview_builds():
    program = declared()
    provider = program.one(PROVIDER)
    for image in program.of_type(IMAGE):
        assert image.provider.startswith(provider.urn)
        assert image.inputs["push"] is True
        assert image.inputs["exec"] is True  # the plugin's own builder adds no provenance
        assert image.inputs["buildOnPreview"] is False


def test_the_password_of_the_registry_is_a_secret():
    for image in declared().of_type(IMAGE):
        assert "registries" in image.secrets
        assert [r["password"] for r in image.inputs["registries"]] == ["registry-password"]


def test_another_base_is_another_tag():
    def tag(**overrides):
        (image,) = [i for i in declared(**overrides).of_type(IMAGE) if i.name == "trainer"]
        return image.inputs["tags"][0].rpartition(":")[2], image.inputs["buildArgs"]

    usual, arguments = tag()
    assert arguments == {"VERSION": usual}
    base = f"registry.example.org/python:3.12@sha256:{'b' * 64}"
    other, arguments = tag(**{"cloud.images.base": base})
    assert (other != usual, arguments) == (True, {"BASE": base, "VERSION": other})


def test_vllm_is_never_built():
    program = declared(**{"cloud.serving.runtime": "vllm", "cloud.images.vllm": "registry.example.org/vllm:1"})
    assert program.result.vllm == "registry.example.org/vllm:1"
