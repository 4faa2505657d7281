"""Image repositories of the stack's own, for the images that it builds."""

import json

import pulumi_aws as aws

from infra.cloud_contracts import RepositoryContract
from infra.scope import Scope
from infra.settings import Settings

_KEPT_IMAGES = 50
_UNTAGGED_DAYS = 14


def repositories(scope: Scope, settings: Settings) -> RepositoryContract:
    """A repository for each image that has to be built: scanned at every push, and no tag ever means another image."""
    names = settings.of_cloud.images.to_build
    if not names:
        return RepositoryContract(urls={}, arns={})
    scope = scope.component("Repositories", "repositories")
    made = {name: _repository(scope, name, erasable=settings.of_cloud.storage.erasable) for name in names}
    return RepositoryContract(
        urls={name: repository.repository_url for name, repository in made.items()},
        arns={name: repository.arn for name, repository in made.items()},
    )


def _repository(
    scope: Scope, name: str, *, erasable: bool
) -> "aws.ecr.Repository":  # in quotes: looked up, it imports a service that a stack may not need
    repository = aws.ecr.Repository(
        name,
        name=f"{scope.naming.prefix}/{name}",
        image_tag_mutability="IMMUTABLE",
        image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
        # by AWS's own key: what is built from this repository's sources is no secret of the artefacts' kind, and a
        # customer's key could never be exchanged without a new repository
        encryption_configurations=[aws.ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS")],
        force_delete=erasable,
        tags=scope.naming.tags(name),
        opts=scope.keeper(),
    )
    aws.ecr.LifecyclePolicy(name, repository=repository.name, policy=json.dumps(_LIFECYCLE), opts=scope.child())
    return repository


_LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "what no tag leads to",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": _UNTAGGED_DAYS,
            },
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "description": "the oldest",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": _KEPT_IMAGES},
            "action": {"type": "expire"},
        },
    ]
}
