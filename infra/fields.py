"""Domain types of stack values: each parses what a person writes and refuses the rest with the limit and the remedy."""

import re
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

_UNITS_MBPS = {"kbit/s": 1e-3, "mbit/s": 1.0, "gbit/s": 1e3}


def parse_bandwidth_mbps(value: object) -> float:
    """Mbit/s from `100 Mbit/s`, `1.25 Gbit/s` or `800 kbit/s`. Raises `ValueError` when the unit is missing or unknown."""
    if isinstance(value, float):  # already parsed: a frozen value that is validated again
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+/s)\s*", str(value))
    if not match or match[2].lower() not in _UNITS_MBPS:
        raise ValueError("bandwidth is a number with a unit, such as 100 Mbit/s, 1.25 Gbit/s or 800 kbit/s")
    return float(match[1]) * _UNITS_MBPS[match[2].lower()]


def _usable_bandwidth(mbps: float) -> float:
    if not 0.1 <= mbps <= 100_000:
        raise ValueError(f"{mbps:g} Mbit/s is outside 0.1 Mbit/s to 100 Gbit/s; a link with no rate carries no round")
    return mbps


Bandwidth = Annotated[
    float,
    BeforeValidator(parse_bandwidth_mbps),
    AfterValidator(_usable_bandwidth),
    WithJsonSchema({"type": "string", "examples": ["100 Mbit/s"]}),
]
"""Mbit/s."""

RoundTripMs = Annotated[float, Field(ge=0, le=2000)]
BasePort = Annotated[int, Field(ge=1024, le=65535 - 400)]
Workers = Annotated[int, Field(ge=1, le=64)]
UsdPerHour = Annotated[float, Field(ge=0, le=1000)]


def parse_cidr(value: object) -> IPv4Network:
    """A network from `10.0.0.0/16`. Raises `ValueError` for host bits, IPv6 and what is no network at all."""
    if isinstance(value, IPv4Network):
        return value
    try:
        return IPv4Network(str(value))
    except ValueError as error:
        raise ValueError(f"{error}; write an IPv4 network such as 10.0.0.0/16") from None


Cidr = Annotated[
    IPv4Network, BeforeValidator(parse_cidr), WithJsonSchema({"type": "string", "examples": ["10.0.0.0/16"]})
]

PRIVATE_NETWORKS = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""RFC 1918."""


def _is_private(network: IPv4Network) -> IPv4Network:
    if not any(network.subnet_of(private) for private in PRIVATE_NETWORKS):
        raise ValueError(f"{network} is outside RFC 1918; pick a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
    return network


PrivateCidr = Annotated[Cidr, AfterValidator(_is_private)]
"""A network that hybrid nodes of EKS may have: RFC 1918 IPv4."""


def _private_asn(asn: int) -> int:
    if not (64512 <= asn <= 65534 or 4_200_000_000 <= asn <= 4_294_967_294):
        raise ValueError(f"{asn} is no private AS number; pick one of 64512-65534 or 4200000000-4294967294 (RFC 6996)")
    return asn


Asn = Annotated[int, AfterValidator(_private_asn)]

AwsRegion = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
InstanceType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]
Arn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:\d{12}:.+$")]
HostName = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}$")]
HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/\S*)?$")]
ImageReference = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/:-]*(@sha256:[0-9a-f]{64})?$", max_length=512)
]
"""An image by repository, tag and digest; the policy pack wants the digest wherever images are pulled."""
