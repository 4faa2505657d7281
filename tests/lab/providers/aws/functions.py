"""What the program asks AWS without creating anything."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.lab.providers.aws.cloud import Cloud
from tests.lab.providers.contract import Values


def _caller(cloud: Cloud, _: Values) -> Values:
    found = cloud.call("sts", "get_caller_identity", cloud.region)
    return {"id": found["Account"], "accountId": found["Account"], "arn": found["Arn"], "userId": found["UserId"]}


def _partition(cloud: Cloud, _: Values) -> Values:
    name = cloud.partition
    return {"id": name, "partition": name, "dnsSuffix": "amazonaws.com", "reverseDnsPrefix": "com.amazonaws"}


def _zones(cloud: Cloud, given: Values) -> Values:
    filters = [{"Name": each["name"], "Values": each["values"]} for each in given.get("filters") or []]
    found = cloud.call("ec2", "describe_availability_zones", cloud.region, Filters=filters)["AvailabilityZones"]
    rows = sorted(found, key=lambda zone: str(zone["ZoneName"]))
    return {
        "id": cloud.region,
        "region": cloud.region,
        "names": [zone["ZoneName"] for zone in rows],
        "zoneIds": [zone["ZoneId"] for zone in rows],
        "groupNames": sorted({zone.get("GroupName", cloud.region) for zone in rows}),
    }


FUNCTIONS: Final[Mapping[str, Callable[[Cloud, Values], Values]]] = {
    "aws:index/getAvailabilityZones:getAvailabilityZones": _zones,
    "aws:index/getCallerIdentity:getCallerIdentity": _caller,
    "aws:index/getPartition:getPartition": _partition,
}
