"""Repositories: for what has to be built, and for nothing else."""

import json

from infra.storage.repositories import repositories
from tests.kit.cloud import cloud_settings, declare

REPOSITORY = "aws:ecr/repository:Repository"
GIVEN = {f"cloud.images.{name}": f"registry.example.org/{name}:1" for name in ("trainer", "inference", "registry")}


def declared(**overrides):
    settings = cloud_settings(**overrides)
    return declare(lambda scope: repositories(scope, settings), settings)


def test_each_image_without_a_reference_has_a_repository():
    program = declared(**{"cloud.images.registry": "registry.example.org/registry:1"})
    assert set(program.result.urls) == set(program.result.arns) == {"trainer", "inference"}
    assert [r.inputs["name"] for r in program.of_type(REPOSITORY)] == ["isthmus-dev/inference", "isthmus-dev/trainer"]


def test_given_images_need_no_repository():
    program = declared(**GIVEN)
    assert (program.result.urls, program.of_type(REPOSITORY)) == ({}, [])


def test_images_are_scanned_encrypted_and_never_change_under_a_tag():
    for repository in declared().of_type(REPOSITORY):
        assert repository.inputs["imageTagMutability"] == "IMMUTABLE"
        assert repository.inputs["imageScanningConfiguration"] == {"scanOnPush": True}
        assert [c["encryptionType"] for c in repository.inputs["encryptionConfigurations"]] == ["KMS"]


def test_the_oldest_images_end_in_every_repository():
    program = declared()
    policies = program.of_type("aws:ecr/lifecyclePolicy:LifecyclePolicy")
    assert len(policies) == len(program.of_type(REPOSITORY)) == 3
    first, second = json.loads(policies[0].inputs["policy"])["rules"]
    assert first["selection"]["tagStatus"] == "untagged"
    # ECR refuses a rule for any tag that is not the last
    assert (second["selection"]["tagStatus"], second["rulePriority"]) == ("any", 2)
