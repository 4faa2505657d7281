"""A preflight knows what would fail before money is spent, and says what it could not know."""

from types import SimpleNamespace
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.stub import Stubber  # type: ignore[import-untyped]
from moto import mock_aws
from rich.console import Console

from infra.operations import cloud_preflight
from infra.operations.account_checks import account_checks
from infra.operations.checks import failed, passed, preflight_report, tried, unknown
from infra.operations.cloud_preflight import aws_credentials, check_clouds, check_values, openstack_credentials
from infra.operations.project_checks import project_checks
from tests.kit.cloud import cloud_settings
from workloads.spec.errors import UserError

DIGEST = f"registry.example.org/x@sha256:{'a' * 64}"
GIVEN = {f"cloud.images.{name}": DIGEST for name in ("trainer", "inference", "registry")}


def of(subject: str, checks: Any) -> Any:
    (found,) = [check for check in checks if check.subject == subject]
    return found


def values(**overrides: Any) -> Any:
    return check_values(cloud_settings(**{**GIVEN, **overrides}))


def test_the_dev_stack_with_images_passes_every_check_of_its_values():
    assert {check.subject: check.outcome for check in values()} == dict.fromkeys(
        [
            "addresses",
            "instance types",
            "EFA",
            "zones of pools",
            "plan of the run",
            "trusted keys",
            "budget",
            "images",
        ],
        "passed",
    )


@pytest.mark.parametrize(
    ("subject", "overrides", "value", "remedy"),
    [
        ("addresses", {"sites.1.openstack.supernet": "10.0.0.0/16"}, "overlaps", "pick"),
        ("instance types", {"sites.0.aws.gpu_pools.0.instance_type": "g6.huge"}, "g6.huge is not a known type", "pick"),
        (
            "EFA",
            {"sites.0.aws.gpu_pools.0.efa": True, "sites.0.aws.gpu_pools.0.placement_group": True},
            "g6.xlarge has no EFA",
            "set efa: false",
        ),
        (
            "zones of pools",
            {"sites.0.aws.gpu_pools.0.zone": 4},
            "zone 4 is beyond the site's 2 zones",
            "pick one below",
        ),
        ("plan of the run", {"training.recipe": "nothing"}, "recipe 'nothing' is unknown", ""),
        ("plan of the run", {"sites.1.openstack.gpu_servers.0.gpu.kind": "h900"}, "'h900' is not one of", "or one of"),
        ("budget", {"cloud.monthly_budget_usd": 100}, "USD a month", "use fewer or smaller nodes"),
        ("images", {"cloud.images.trainer": "example.org/trainer:1"}, "trainer: example.org/trainer:1", "@sha256"),
        ("images", {"cloud.serving.runtime": "vllm"}, "vllm: none", "set cloud.images.vllm"),
    ],
)
def test_a_value_that_would_fail_is_named_with_its_remedy(subject, overrides, value, remedy):
    found = of(subject, values(**overrides))
    assert found.failed, found
    assert value in found.value
    assert remedy in f"{found.value} {found.remedy}"


def test_images_that_are_never_pulled_need_no_digest():
    named = dict.fromkeys((*GIVEN, "cloud.images.postgres"), "localhost/x:1")
    assert of("images", values(**named, **{"cloud.images.pull": "Never"})).outcome == "passed"


def test_images_that_are_built_here_need_docker(monkeypatch):
    monkeypatch.setattr(cloud_preflight.shutil, "which", lambda _: None)
    found = of("images", check_values(cloud_settings()))
    assert found.failed
    assert "no docker on PATH" in found.value


def test_a_type_without_a_price_is_not_known_and_no_failure():
    found = of("prices", values(**{"sites.0.aws.gpu_pools.0.instance_type": "p5e.48xlarge"}))
    assert found.outcome == "unknown"


def test_this_machine_without_anything_fails_on_credentials_and_passphrase_and_asks_no_account(tmp_path):
    environment = {"HOME": str(tmp_path)}
    checks = check_clouds(cloud_settings(), "dev", tmp_path, environment)
    by_subject = {check.subject: check.outcome for check in checks}
    assert by_subject["credentials of AWS"] == "failed"
    assert by_subject["credentials of OpenStack"] == "failed"
    assert by_subject["passphrase"] == "failed"  # noqa: S105 - an outcome
    assert by_subject["plugins"] == "unknown"
    assert not {"account of AWS", "project of OpenStack"} & set(by_subject)


def test_a_password_in_the_stacks_file_is_refused(tmp_path):
    checks = check_clouds(cloud_settings(**{"cloud.database_password": "hunter2"}), "dev", tmp_path, {"HOME": "/none"})
    found = of("database password", checks)
    assert found.failed
    assert "hunter2" not in f"{found}"


@pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_credentials_of_aws_are_found_in_the_environment(name):
    assert aws_credentials({name: "x"}).outcome == "passed"


def test_credentials_of_aws_are_found_in_its_files(tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\n")
    assert aws_credentials({"HOME": str(tmp_path)}).outcome == "passed"


def test_an_entry_of_clouds_yaml_is_looked_for_by_name(tmp_path):
    file = tmp_path / "clouds.yaml"
    environment = {"OS_CLIENT_CONFIG_FILE": str(file)}
    settings = cloud_settings()
    assert openstack_credentials(settings, environment).failed
    file.write_text("clouds: {other: {}}\n")
    found = openstack_credentials(settings, environment)
    assert found.failed
    assert "has other" in found.value
    file.write_text("clouds: {isthmus-dev: {}}\n")
    assert openstack_credentials(settings, environment).outcome == "passed"
    file.write_text("[not, clouds]\n")
    assert openstack_credentials(settings, environment).failed


def test_without_a_cloud_the_environment_has_the_credentials():
    settings = cloud_settings(**{"sites.1.openstack.cloud": None})
    assert openstack_credentials(settings, {}).failed
    assert openstack_credentials(settings, {"OS_AUTH_URL": "https://keystone.example.org"}).outcome == "passed"


@mock_aws
def test_an_account_is_asked_for_its_identity_and_zones_and_what_it_does_not_answer_is_unknown(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    settings = cloud_settings(
        **{"sites.0.aws.region": "us-east-1", "sites.0.aws.gpu_pools.0.instance_type": "g4dn.xlarge"}
    )
    checks = account_checks(settings)
    assert of("account of AWS", checks).outcome == "passed"
    assert of("zones with g4dn.xlarge", checks).outcome == "passed"
    # moto knows no quotas of EC2
    assert of("vCPUs for G spot", checks).outcome == "unknown"
    assert not any(check.failed for check in checks)


@mock_aws
def test_a_type_that_no_zone_offers_fails(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    settings = cloud_settings(**{"sites.0.aws.region": "us-east-1", "sites.0.aws.system.instance_type": "x9.none"})
    assert of("zones with x9.none", account_checks(settings)).failed


def stubbed(**answers: Any) -> Any:
    """Clients that answer each call once, in the order of `answers`: SERVICE__OPERATION or a list of such."""
    clients = {}
    for service in {key.split("__")[0] for key in answers}:
        client = boto3.client(
            service.replace("_", "-"),
            "eu-central-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",  # noqa: S106 - of nobody
        )
        stub = Stubber(client)
        for key, value in answers.items():
            if key.split("__")[0] == service:
                for answer in value if isinstance(value, list) else [value]:
                    stub.add_response(key.split("__")[1], answer)
        stub.activate()
        clients[service.replace("_", "-")] = client
    return clients.__getitem__


def quotas(*limits: float) -> list[dict[str, Any]]:
    return [{"Quota": {"Value": limit}} for limit in limits]


IDENTITY = {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/x", "UserId": "AIDA"}


@pytest.mark.parametrize(("limit", "outcome"), [(4.0, "passed"), (3.0, "failed")])
def test_vcpus_are_held_against_the_quota(limit, outcome):
    client = stubbed(
        sts__get_caller_identity=IDENTITY,
        ec2__describe_addresses={"Addresses": []},
        service_quotas__get_service_quota=quotas(5.0, limit),
    )
    assert of("vCPUs for G spot", account_checks(cloud_settings(), client)).outcome == outcome


def test_elastic_ips_in_use_count_against_theirs():
    client = stubbed(
        sts__get_caller_identity=IDENTITY,
        ec2__describe_addresses={"Addresses": [{"PublicIp": "192.0.2.1"}] * 5},
        service_quotas__get_service_quota=quotas(5.0, 100.0),
    )
    found = of("Elastic IPs", account_checks(cloud_settings(), client))
    assert found.failed
    assert found.value == "5 in use, 1 wanted"


def test_a_reservation_that_is_over_fails():
    pool = {"name": "h", "instance_type": "p5.48xlarge", "capacity": "capacity-block", "reservation": "cr-0123456789"}
    settings = cloud_settings(**{"sites.0.aws.gpu_pools": [{**pool, "nodes": {"max": 1}}]})
    reservation = {"CapacityReservationId": "cr-0123456789", "State": "expired"}
    zones = {"AvailabilityZones": [{"ZoneName": f"eu-central-1{letter}"} for letter in "ab"]}
    offers = {"InstanceTypeOfferings": [{"InstanceType": "any", "Location": "eu-central-1a"}]}
    client = stubbed(
        sts__get_caller_identity=IDENTITY,
        ec2__describe_addresses={"Addresses": []},
        service_quotas__get_service_quota=quotas(5.0),
    )
    asked = SimpleNamespace(
        describe_addresses=lambda: {"Addresses": []},
        describe_instance_type_offerings=lambda **_: offers,
        describe_availability_zones=lambda: zones,
        describe_capacity_reservations=lambda **_: {"CapacityReservations": [reservation]},
    )
    checks = account_checks(settings, lambda service: asked if service == "ec2" else client(service))
    assert of("reservations", checks).failed
    assert "cr-0123456789 is expired" in of("reservations", checks).value
    assert of("zones with p5.48xlarge", checks).outcome == "passed"
    assert not [check for check in checks if check.subject.startswith("vCPUs")]


def test_bad_credentials_leave_the_account_unknown_and_nothing_else_is_asked():
    def client(_: str) -> Any:
        raise RuntimeError("the security token is expired")

    assert [(check.subject, check.outcome) for check in account_checks(cloud_settings(), client)] == [
        ("account of AWS", "unknown")
    ]


class Project:
    """Stands in for `openstack.connection.Connection`."""

    current_project_id = "p"

    def __init__(
        self, *, flavors=("m1.small", "g1.l4"), external=True, servers=10, floating=10, octavia=True, balancers=5
    ) -> None:
        known = {name: SimpleNamespace(name=name, vcpus=8, ram=32768) for name in flavors}
        limits = SimpleNamespace(instances_used=0, instances=servers, total_cores_used=0, total_cores=-1)
        self.compute = SimpleNamespace(
            find_flavor=lambda name, **_: known.get(name),
            flavors=known.values,
            get_limits=lambda: SimpleNamespace(absolute=limits),
        )
        self.image = SimpleNamespace(find_image=lambda _name, **_: SimpleNamespace(status="active"))
        network = SimpleNamespace(name="public", is_router_external=external)
        quota = SimpleNamespace(floating_ips={"used": 1, "limit": floating})
        self.network = SimpleNamespace(
            find_network=lambda _name, **_: network, networks=lambda **_: [network], get_quota=lambda *_, **__: quota
        )
        self.has_service = lambda name: octavia and name == "load-balancer"
        self.load_balancer = SimpleNamespace(
            load_balancers=lambda: iter(["another"]),
            get_quota=lambda _: SimpleNamespace(load_balancers=balancers),
        )


def test_a_project_with_everything_passes():
    assert {check.outcome for check in project_checks(cloud_settings(), Project())} == {"passed"}


@pytest.mark.parametrize(
    ("subject", "project", "words"),
    [
        ("flavor g1.l4", {"flavors": ("m1.small",)}, "one of m1.small"),
        ("external network", {"external": False}, "set external_network"),
        ("quota of servers", {"servers": 1}, "2 wanted"),
        ("quota of floating IPs", {"floating": 1}, "1 in use, 1 wanted"),
        ("load balancers", {"octavia": False}, "set door.load_balancer: none"),
        ("load balancers", {"balancers": 1}, "1 in use, 1 wanted"),
    ],
)
def test_what_a_project_lacks_fails(subject, project, words):
    found = of(subject, project_checks(cloud_settings(), Project(**project)))
    assert found.failed
    assert words in f"{found.value} {found.limit} {found.remedy}"


def test_octavia_is_asked_for_where_the_site_has_a_door_of_its_own_that_needs_it():
    for without in ({"door.load_balancer": "none"}, {"gpu_servers": []}):
        settings = cloud_settings(**{f"sites.1.openstack.{key}": value for key, value in without.items()})
        assert not [c for c in project_checks(settings, Project(octavia=False)) if c.subject == "load balancers"]


def test_a_door_with_a_floating_ip_wants_a_second_one():
    open_ = {
        "sites.1.openstack.door.floating_ip": True,
        "cloud.serving.access": {"issuer": "https://a.example", "jwks": "https://a.example/jwks", "audiences": ["m"]},
    }
    found = of("quota of floating IPs", project_checks(cloud_settings(**open_), Project(floating=2)))
    assert found.failed
    assert found.value == "1 in use, 2 wanted"


def test_a_project_that_cannot_be_asked_is_unknown():
    (found,) = project_checks(cloud_settings())
    assert found.outcome == "unknown"
    assert "openstacksdk is not installed" in found.value


def test_a_users_mistake_becomes_a_failed_check_with_its_remedy():
    def look() -> str:
        raise UserError("value 3, limit 2; take fewer")

    assert tried("thing", look) == failed("thing", "value 3, limit 2", "", "take fewer")


def test_the_report_counts_and_puts_failures_first():
    console = Console(width=160, record=True)
    console.print(
        preflight_report([passed("a", "fine"), unknown("b", "?", "ask"), failed("c", "3", "2", "less")], "dev")
    )
    text = console.export_text()
    assert text.index("less") < text.index("ask") < text.index("fine")
    assert "stack dev would fail: 1 passed, 1 failed, 1 unknown" in text
    assert "could not be known" in text
