"""Domain types of stack values: each parses what a person writes and refuses the rest with the limit and the remedy."""

import re
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

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
        raise ValueError(
            f"{mbps:g} Mbit/s is outside 0.1 Mbit/s to 100 Gbit/s; set a rate within, as a link with none carries no round"
        )
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


def written(pattern: str, what: str, example: str) -> AfterValidator:
    """Text of a form: what does not match `pattern` is refused with an example."""
    form = re.compile(pattern)

    def check(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError(f"{text!r:.80} is not {what}; write one such as {example}")
        return text

    return AfterValidator(check)


AwsRegion = Annotated[str, written(r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region", "eu-central-1")]
InstanceType = Annotated[str, written(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", "an EC2 instance type", "g6.12xlarge")]
Arn = Annotated[
    str,
    written(r"arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:\d{12}:.+", "an ARN", "arn:aws:iam::123456789012:role/platform"),
]
HostName = Annotated[
    str, written(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}", "a DNS name", "models.example.org")
]
HttpUrl = Annotated[str, written(r"https?://[^\s/]+(/\S*)?", "an http or https address", "https://s3.example.org")]
ImageReference = Annotated[
    str,
    Field(max_length=512),
    written(
        r"[a-z0-9][a-z0-9._-]*(:\d+)?(/[a-z0-9][a-z0-9._-]*)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?",
        "an image reference",
        "registry.example.org/trainer@sha256:…, of 64 hex digits",
    ),
]
"""An image by repository, tag and digest; the policy pack wants the digest wherever images are pulled."""

BucketName = Annotated[
    str, written(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket's name", "isthmus-prod-aws-1-replica-123456789012")
]
PoolName = Annotated[
    str, written(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", "a name that a node's label can hold", "h100 or l4-spot")
]
Text = Annotated[str, written(r"\S(.*\S)?", "something to go by", "the name that the cloud has for it")]
TagText = Annotated[
    str,
    written(
        # AWS takes more; of OpenStack, Nova takes no slash and nobody a comma
        # (https://docs.openstack.org/api-ref/compute/#server-tags-servers-tags)
        r"[A-Za-z0-9]([A-Za-z0-9 ._:@+-]{0,46}[A-Za-z0-9])?",
        "what tags of both clouds can hold (48 letters, digits, spaces and ._:@+-)",
        "ml-platform",
    ),
]
Contact = Annotated[str, written(r"[^\s@]+@[^\s@]+", "an e-mail address", "ml-platform@example.org")]
Reservation = Annotated[str, written(r"cr-[0-9a-f]{8,17}", "the id of a capacity reservation", "cr-0123456789abcdef0")]
SshPublicKey = Annotated[
    str,
    written(
        r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-\S+|sk-\S+) [A-Za-z0-9+/=]+( .*)?", "a public key of SSH", "ssh-ed25519 AAAA…"
    ),
]
PemPublicKey = Annotated[
    str,
    written(
        r"-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+-----END PUBLIC KEY-----\n?",
        "a public key in PEM",
        "-----BEGIN PUBLIC KEY-----, as the primary exports it under recovery",
    ),
]

KUBERNETES = ("1.34", "1.35")
"""What the pinned charts fit: the version that add-ons and schemas are pinned for, and the next, to upgrade to."""


def _pinned(version: str) -> str:
    if version not in KUBERNETES:
        raise ValueError(
            f"{version!r:.20} is no version that the pinned charts fit; set one of {', '.join(KUBERNETES)}, in quotes"
        )
    return version


KubernetesVersion = Annotated[str, AfterValidator(_pinned)]
