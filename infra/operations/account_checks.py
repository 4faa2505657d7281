"""What the AWS account says before anything is asked of it. Every question only reads."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from infra.cloud_settings import AwsSettings
from infra.cluster.catalogue import CATALOGUE
from infra.operations.checks import Check, failed, passed, unknown
from infra.settings import Settings

# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html: vCPUs that run at once, by family
_ON_DEMAND: Final = {"g": "L-DB2E81BA", "p": "L-417A185B"}
_SPOT: Final = {"g": "L-3819A6DF", "p4": "L-7212CCBC", "p5": "L-C4BD4855"}
_ADDRESSES: Final = "L-0263D0A3"  # Elastic IPs of a region

Client = Callable[[str], Any]
"""A client of boto3 for a service."""


def account_checks(settings: Settings, client: Client | None = None) -> list[Check]:
    """Identity, quotas, zones and reservations. What the credentials may not ask is unknown, not failed."""
    _, values = settings.aws_site
    if client is None:
        if find_spec("boto3") is None:
            return [unknown("account of AWS", "boto3 is not installed", "pip install boto3 to have quotas checked")]
        client = _clients(values)
    who = asked("account of AWS", lambda: _identity(client("sts")))
    if who.outcome != "passed":
        return [who]
    checks = [who, asked("Elastic IPs", lambda: _addresses(client, values))]
    checks += [
        asked(f"vCPUs for {family}", lambda name=name, need=need: _quota(client("service-quotas"), name, need))  # type: ignore[misc]
        for family, (name, need) in _needed(values).items()
    ]
    kinds = sorted({values.system.instance_type, *(pool.instance_type for pool in values.gpu_pools)})
    checks += [
        asked(f"zones with {kind}", lambda kind=kind: _offered(client("ec2"), kind, values))  # type: ignore[misc]
        for kind in kinds
    ]
    checks.append(asked("image of GPU nodes", lambda: _image(client("ssm"), settings)))
    ids = [pool.reservation for pool in values.gpu_pools if pool.reservation]
    if ids:
        checks.append(asked("reservations", lambda: _reservations(client("ec2"), ids)))
    return checks


def asked(subject: str, look: Callable[[], Check]) -> Check:
    """What `look` finds, under `subject`; unknown where the other side did not answer."""
    try:
        found = look()
    except Exception as error:  # noqa: BLE001 - each library has its own, and none of them may end a preflight
        return unknown(subject, " ".join(str(error).split())[:160], "check it in the console, or ask with more rights")
    return Check(subject, found.outcome, found.value, found.limit, found.remedy)


def _clients(values: AwsSettings) -> Client:
    boto3, config = import_module("boto3"), import_module("botocore.config")
    quick = config.Config(connect_timeout=3, read_timeout=10, retries={"max_attempts": 1})

    def client(service: str) -> Any:
        return boto3.client(
            service, region_name=values.region, endpoint_url=values.endpoints.get(service), config=quick
        )

    return client


def _identity(sts: Any) -> Check:
    who = sts.get_caller_identity()
    return passed("", f"{who['Account']} as {who['Arn'].rpartition(':')[2]}")


def _addresses(client: Client, values: AwsSettings) -> Check:
    need = {"none": 0, "one": 1, "zone": values.zones}[values.nat]
    used = len(client("ec2").describe_addresses()["Addresses"])
    limit = client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=_ADDRESSES)["Quota"]["Value"]
    text = f"{used} in use, {need} wanted"
    if used + need > limit:
        return failed("", text, f"{limit:g}", "release some, or ask for more under Service Quotas, EC2")
    return passed("", text, f"{limit:g}")


def _needed(values: AwsSettings) -> Mapping[str, tuple[str, int]]:
    """By family and market: the quota's code and the vCPUs that pools want. A capacity block counts against none."""
    needed: dict[str, tuple[str, int]] = {}
    for pool in values.gpu_pools:
        facts = CATALOGUE.get(pool.instance_type)
        codes = _SPOT if pool.capacity == "spot" else _ON_DEMAND
        prefix = max((name for name in codes if pool.instance_type.startswith(name)), key=len, default=None)
        if facts is None or prefix is None or pool.capacity == "capacity-block":
            continue
        subject = f"{prefix.upper()} {'spot' if pool.capacity == 'spot' else 'on demand'}"
        code, have = needed.get(subject, (codes[prefix], 0))
        needed[subject] = (code, have + facts.vcpus * pool.nodes.desired)
    return needed


def _quota(quotas: Any, code: str, need: int) -> Check:
    limit = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
    if need > limit:
        return failed("", f"{need} wanted", f"{limit:g}", f"ask for more under Service Quotas, EC2, {code}")
    return passed("", f"{need} wanted", f"{limit:g}")


def _offered(ec2: Any, kind: str, values: AwsSettings) -> Check:
    answer = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [kind]}]
    )
    having = sorted(offer["Location"] for offer in answer["InstanceTypeOfferings"])
    zones = sorted(zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"])[: values.zones]
    wanted = {zones[pool.zone] for pool in values.gpu_pools if pool.instance_type == kind and pool.zone < len(zones)}
    near = {
        zones[pool.zone]
        for pool in values.gpu_pools
        if _bound(pool) and pool.instance_type == kind and pool.zone < len(zones)
    }
    text = ", ".join(having) or "no zone"
    if not having or near - set(having) or (wanted and not set(zones) & set(having)):
        where = ", ".join(sorted(near or zones))
        return failed("", text, where, "pick another type, zone or region for the pool")
    return passed("", text)


def _bound(pool: Any) -> bool:
    return bool(pool.placement_group or pool.reservation)


def _image(ssm: Any, settings: Settings) -> Check:
    version = settings.of_cloud.cluster.version
    # https://docs.aws.amazon.com/eks/latest/userguide/retrieve-ami-id.html
    name = f"/aws/service/eks/optimized-ami/{version}/amazon-linux-2023/x86_64/nvidia/recommended/image_id"
    return passed("", f"{ssm.get_parameter(Name=name)['Parameter']['Value']} for Kubernetes {version}")


def _reservations(ec2: Any, ids: list[str]) -> Check:
    answer = ec2.describe_capacity_reservations(CapacityReservationIds=ids)
    states = {entry["CapacityReservationId"]: entry["State"] for entry in answer["CapacityReservations"]}
    gone = [
        f"{name} is {states.get(name, 'not there')}" for name in ids if states.get(name) not in {"active", "scheduled"}
    ]
    if gone:
        return failed("", ", ".join(gone), "active or scheduled", "buy another, and name it as the pool's reservation")
    return passed("", ", ".join(f"{name} {state}" for name, state in states.items()))
