"""What a program imports of the clouds' SDKs: nothing that its stack does not use."""

import pytest

from infra.settings import ROOT
from tests.kit.program_cost import measured, package_of

# What every object's metadata is of, and what the SDK's own Helm imports.
INSEPARABLE = {"pulumi_kubernetes.meta", "pulumi_kubernetes.apiextensions"}
# Without bytecode an import of these SDKs takes thrice as long: only the first run pays for that.
CACHED = {"PYTHONPYCACHEPREFIX": str(ROOT / ".state/cache/bytecode"), "PYTHONDONTWRITEBYTECODE": ""}


def test_a_local_stack_imports_no_sdk_of_a_cloud():
    cost = measured("local", CACHED)
    assert cost.resources > 5
    assert cost.modules == {}


@pytest.mark.parametrize("stack", ["lab", "prod"])  # the one that needs least, and the one that needs most
def test_a_cloud_stack_imports_no_part_of_an_sdk_that_it_declares_nothing_of(stack):
    cost = measured(stack, CACHED)
    assert cost.resources > 100
    assert "pulumi_aws.ec2" in cost.used
    assert set(cost.services) - cost.used <= INSEPARABLE
    assert ("pulumi_docker_build" in cost.modules) is any(kind.startswith("docker-build:") for kind in cost.types)
    assert len(cost.services) > 15


@pytest.mark.parametrize(
    ("token", "package"),
    [
        ("aws:ec2/vpc:Vpc", "pulumi_aws.ec2"),
        ("aws:index/getRegion:getRegion", None),
        ("kubernetes:rbac.authorization.k8s.io/v1:Role", "pulumi_kubernetes.rbac"),
        ("openstack:networking/port:Port", "pulumi_openstack.networking"),
        ("isthmus:local:Site", None),
    ],
)
def test_a_type_s_package_is_known_by_its_token(token, package):
    assert package_of(token) == package
