"""The whole program of each cloud stack file, under mocks that refuse what an engine would refuse."""

import json
import os
from pathlib import Path

import pytest

from infra.access.listing import principals
from infra.settings import ROOT
from tests.kit import schemas, sdk_schema
from tests.kit.cloud import cloud_settings, whole
from tests.kit.program import stack_config, stack_files

STACKS = [path.name.split(".")[1] for path in stack_files() if "isthmus:cloud" in stack_config(path.name.split(".")[1])]
SNAPSHOTS = Path(__file__).parent / "snapshots"
# What the mocked providers give back as secrets: wherever one of these turns up, the engine must know it for a secret.
SECRETS = (
    "psk-of-tunnel-one",
    "psk-of-tunnel-two",
    "drawn-secret",
    "PRIVATE PEM",
    "CA KEY",
    "CERTIFICATE KEY",
    "application-credential-secret",
    "ec2-secret",
    "code-of-activation",
    "registry-password",
)
_PLATFORM = "isthmus:platform:Platform"


@pytest.fixture(params=STACKS)
def stack(request) -> str:
    return request.param


def test_there_is_a_stack_for_every_environment():
    assert STACKS == ["dev", "dr", "lab", "prod", "staging"]


def test_every_cloud_stack_file_is_a_program_that_runs(stack):
    made = whole(stack)
    assert set(made.result["endpoints"]) == {site.name for site in cloud_settings(stack).sites}
    assert len(made.resources) > 100


def test_every_site_has_a_door_and_its_address_is_exported(stack):
    made = whole(stack).result["doors"]
    inside = {"aws-1": "istio-ingress.istio-ingress.svc", "os-1": "istio-ingress-os-1.istio-ingress.svc"}
    project = cloud_settings(stack).openstack_site[1]
    balanced = {"os-1": str(project.supernet[11])} if project.has_balancer else {}
    assert made == {**inside, **balanced}


def test_every_child_is_under_its_component_and_only_the_platform_is_at_the_top(stack):
    for resource in whole(stack).resources:
        kind = resource.parent.split("::")[2].split("$")[-1]
        if resource.type == _PLATFORM or resource.type.startswith("pulumi:providers:"):
            continue
        assert kind.startswith("isthmus:platform:"), f"{resource.urn} hangs under {kind}"
        assert kind != _PLATFORM or not resource.custom, f"{resource.urn} is in no component"


def test_every_resource_has_an_explicit_provider(stack):
    custom = [r for r in whole(stack).resources if r.custom and not r.type.startswith("pulumi:")]
    for resource in custom:
        package = resource.type.split(":")[0]
        assert f"pulumi:providers:{package}::" in resource.provider, resource.urn
        assert "::default" not in resource.provider, resource.urn


def test_a_secret_is_a_secret_wherever_it_goes(stack):
    for resource in whole(stack).resources:
        for key, value in resource.inputs.items():
            found = [secret for secret in SECRETS if secret in json.dumps(value, default=str)]
            assert not found or key in resource.secrets, f"{resource.urn}: {key} shows {found} in plain text"


def test_the_secrets_of_the_mocks_reach_what_needs_them():
    shown = json.dumps([r.inputs for r in whole("dev").resources], default=str)
    assert {"psk-of-tunnel-one", "drawn-secret", "PRIVATE PEM", "ec2-secret"} <= {s for s in SECRETS if s in shown}


def test_everything_in_aws_that_can_be_tagged_says_whose_it_is(stack):
    cloud = cloud_settings(stack).of_cloud
    wanted = {"project": "isthmus", "stack": stack, "owner": cloud.owner, "cost-center": cloud.cost_center}
    for resource in whole(stack).resources:
        if not resource.type.startswith("aws:") or "tags" not in sdk_schema.inputs_of(resource.type):
            continue
        tags = resource.inputs.get("tags", {})
        missing = {key: value for key, value in wanted.items() if tags.get(key) != value}
        assert not missing, f"{resource.urn} lacks {missing}"


def test_logical_names_are_unique_by_type_and_say_what_they_are(stack):
    seen: set[tuple[str, str]] = set()
    for resource in whole(stack).resources:
        assert (resource.type, resource.name) not in seen, resource.urn
        seen.add((resource.type, resource.name))


def test_every_object_of_the_cluster_is_one_that_the_pinned_versions_take(stack):
    assert schemas.validate_all(schemas.manifests_of(whole(stack))) > 100


def test_nothing_waits_for_a_service_that_waits_for_it(stack):
    """The provider awaits a Service until pods stand behind it, ten minutes long."""
    declared = {resource.urn: resource for resource in whole(stack).resources}
    awaited = {
        urn: resource.inputs["spec"]["selector"]
        for urn, resource in declared.items()
        if resource.type == "kubernetes:core/v1:Service"
        and resource.inputs["metadata"].get("annotations", {}).get("pulumi.com/skipAwait") != "true"
    }
    assert awaited
    for resource in declared.values():
        labels = ((resource.inputs.get("spec") or {}).get("template") or {}).get("metadata", {}).get("labels", {})
        behind = {urn for urn, selector in awaited.items() if selector.items() <= labels.items()}
        assert not behind & needed(resource, declared), resource.name


def needed(resource, declared):
    """URNs of all that has to be there before it."""
    found, open_ends = set(), [resource]
    while open_ends:
        new = {urn for urn in open_ends.pop().depends_on if urn in declared} - found
        found |= new
        open_ends += [declared[urn] for urn in new]
    return found


def test_no_stack_s_name_is_in_the_program():
    """An environment is values: a branch on its name would be logic."""
    names = ("dev", "staging", "prod", "dr", "lab")
    for path in (ROOT / "infra").rglob("*.py"):
        if path.is_relative_to(ROOT / "infra" / "operations"):
            continue  # a command line has a default
        text = path.read_text(encoding="utf-8")
        found = [name for name in names if f'"{name}"' in text or f"'{name}'" in text]
        assert not found, f"{path.relative_to(ROOT)} names {found}"


def test_what_holds_state_is_protected_where_the_stack_says_so():
    kept = {r.type for r in whole("prod").resources if r.protect}
    assert {"aws:kms/key:Key", "aws:s3/bucket:Bucket", "aws:eks/cluster:Cluster"} <= kept
    assert not [r.urn for r in whole("dev").resources if r.protect]
    assert not [r.urn for r in whole("lab").resources if r.protect]


def test_principals_and_what_they_may_do_are_as_reviewed(stack):
    """A change here is a change of who may do what: look at it, then run with UPDATE_SNAPSHOTS=1."""
    listing = json.dumps(principals(whole(stack).resources), indent=1, sort_keys=True) + "\n"
    file = SNAPSHOTS / f"principals.{stack}.json"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(listing, encoding="utf-8")
    assert listing == file.read_text(encoding="utf-8")


def test_the_copy_for_a_disaster_names_nothing_of_the_lost_region():
    (_, primary), (_, copy) = cloud_settings("prod").aws_site, cloud_settings("dr").aws_site
    assert copy.region != primary.region
    assert primary.region not in json.dumps([r.inputs for r in whole("dr").resources], default=str)
