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


POOL = "sites.0.aws.gpu_pools.0"
EFA = {f"{POOL}.instance_type": "g6.8xlarge", f"{POOL}.efa": True, f"{POOL}.placement_group": True}


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


def test_a_stack_without_efa_builds_nothing_for_it():
    program = declared()
    assert sorted(image.name for image in program.of_type(IMAGE)) == ["inference", "registry", "trainer"]
    assert program.result.trainer_efa is None


def test_a_stack_with_efa_builds_another_trainer_on_its_own():
    program = declared(**EFA)
    built = {image.name: image.inputs for image in program.of_type(IMAGE)}
    usual, other = built["trainer"], built["trainer-efa"]
    assert other["buildArgs"]["BASE"] == program.result.trainer
    assert other["dockerfile"]["location"].endswith("infra/images/trainer-efa.Dockerfile")
    assert program.result.trainer_efa.startswith(f"{other['tags'][0]}@sha256:")
    repository, _, tag = other["tags"][0].rpartition(":")
    assert (repository, tag.partition("-")[0]) == (usual["tags"][0].rpartition(":")[0], "efa")
    assert usual == {image.name: image.inputs for image in declared().of_type(IMAGE)}["trainer"]


def test_another_trainer_is_another_tag_of_that_on_it():
    def tag(**overrides):
        return {i.name: i.inputs for i in declared(**EFA, **overrides).of_type(IMAGE)}["trainer-efa"]["tags"]

    assert tag() != tag(**{"cloud.images.base": f"registry.example.org/python:3.12@sha256:{'b' * 64}"})


def test_a_given_trainer_for_efa_is_named_as_it_is():
    by_efa = f"registry.example.org/trainer-efa:1@sha256:{'c' * 64}"
    program = declared(**GIVEN, **EFA, **{"cloud.images.trainer_efa": by_efa})
    assert program.result.trainer_efa == by_efa
    assert program.of_type(IMAGE) == []


def test_vllm_is_never_built():
    program = declared(**{"cloud.serving.runtime": "vllm", "cloud.images.vllm": "registry.example.org/vllm:1"})
    assert program.result.vllm == "registry.example.org/vllm:1"
