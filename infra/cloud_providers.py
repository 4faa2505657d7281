"""The providers of a cloud stack: a module apart, since the SDKs take seconds to import and a local stack needs none."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import signature

import pulumi
import pulumi_aws as aws
import pulumi_openstack as openstack

from infra.naming import Naming
from infra.providers import LocalProvider
from infra.settings import Settings
from workloads.spec.errors import UserError


@dataclass(frozen=True)
class CloudProviders:
    """One provider a cloud, for all that is outside the cluster. The cluster's own comes with the cluster."""

    aws: aws.Provider
    openstack: openstack.Provider
    isthmus: LocalProvider  # draws keys and passwords

    @property
    def clouds(self) -> dict[str, pulumi.ProviderResource]:
        return {"aws": self.aws, "isthmus": self.isthmus, "openstack": self.openstack}

    @classmethod
    def of(cls, settings: Settings, naming: Naming) -> "CloudProviders":
        """Providers of a cloud stack: every AWS resource gets the stack's tags, credentials stay in the environment.

        Raises:
            UserError: an endpoint is of no service that the provider knows.
        """
        _, values = settings.aws_site
        _, project = settings.openstack_site
        emulated = bool(values.endpoints)
        return cls(
            aws=aws.Provider(
                "aws",
                region=values.region,
                default_tags=aws.ProviderDefaultTagsArgs(tags=naming.tags()),
                endpoints=[_endpoints(values.endpoints)] if emulated else None,
                # an emulator has neither a metadata service nor accounts to look up
                skip_metadata_api_check=emulated,
                s3_use_path_style=emulated,
            ),
            openstack=openstack.Provider("openstack", cloud=project.cloud, region=project.region),
            isthmus=LocalProvider("isthmus"),
        )


def _endpoints(given: Mapping[str, str]) -> aws.ProviderEndpointArgs:
    known = sorted(signature(aws.ProviderEndpointArgs).parameters)
    for service in sorted(given.keys() - set(known)):
        near = get_close_matches(service, known, n=3) or known
        raise UserError(f"endpoints: {service} is no service of the AWS provider; use one of {', '.join(near)}")
    return aws.ProviderEndpointArgs(**given)
