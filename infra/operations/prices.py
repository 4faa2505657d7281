"""The price table: what AWS asks, where each figure was read, and when."""

from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import Field, PositiveFloat

from infra.cloud_settings import Setting
from infra.fields import AwsRegion, InstanceType
from workloads.spec.base import Name

HOURS_A_MONTH: Final = 730
"""As AWS's own calculator counts."""

Service = Literal[
    "eks_cluster_hour",
    "endpoint_gb",
    "endpoint_hour",
    "gp3_gib_month",
    "hybrid_vcpu_hour",
    "internet_gb",
    "kms_key_month",
    "nat_gb",
    "nat_hour",
    "nlb_gb",
    "nlb_hour",
    "public_ipv4_hour",
    "s3_gib_month",
    "secret_month",
    "transit_attachment_hour",
    "transit_gb",
    "vpn_connection_hour",
]


class Source(Setting):
    """Where figures come from. `confirmed` is false where they were not read there but are known from elsewhere."""

    page: str
    read: date
    confirmed: bool = True


class Price(Setting):
    """USD in the reference region."""

    usd: PositiveFloat
    source: Name


class InstancePrice(Price):
    """An hour of a Linux instance on demand; `regions` are exact prices elsewhere."""

    regions: Mapping[AwsRegion, PositiveFloat] = {}


class Prices(Setting):
    """All of it. Raises `pydantic.ValidationError` for a figure without a known source."""

    reference_region: AwsRegion
    spot_share: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]]  # of on demand
    sources: Mapping[Name, Source]
    instances: Mapping[InstanceType, InstancePrice]
    factors: Mapping[Name, Mapping[AwsRegion, PositiveFloat]]  # by family's first letters, from pairs of read prices
    services: Mapping[Service, Price]

    def instance(self, kind: str, region: str) -> tuple[float, bool] | None:
        """USD an hour on demand and whether it was read for that very region; `None` for a type that is not listed."""
        price = self.instances.get(kind)
        if price is None:
            return None
        confirmed = self.sources[price.source].confirmed
        if region == self.reference_region:
            return price.usd, confirmed
        if region in price.regions:
            return price.regions[region], confirmed
        return price.usd * self.factor(kind, region), False

    def factor(self, kind: str, region: str) -> float:
        """How much dearer a family is in a region; where nobody has read it, as dear as the dearest that was."""
        family = max((name for name in self.factors if kind.startswith(name)), key=len, default=None)
        known = self.factors[family] if family else {}
        return known.get(region) or max((*known.values(), 1.0))

    def service(self, name: Service) -> tuple[float, bool]:
        """USD in the reference region, and whether that was read."""
        price = self.services[name]
        return price.usd, self.sources[price.source].confirmed


@cache
def load_prices() -> Prices:
    """The table beside this module."""
    return Prices.model_validate(yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text(encoding="utf-8")))
