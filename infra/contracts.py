"""What the components of the local platform give to each other: frozen dataclasses of outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from infra.settings import SiteSettings
from workloads.spec.base import Credentials, Endpoint
from workloads.spec.facts import SiteFacts


@dataclass(frozen=True)
class TrustContract:
    """Identities of the sites and the pair of keys that signs models."""

    credentials: Mapping[str, Credentials]  # by site
    signing_key: Path
    public_key: Path
    fingerprint: pulumi.Output[str]  # changes when the identities were drawn anew


@dataclass(frozen=True)
class SiteContract:
    """A place that trains and serves."""

    settings: SiteSettings
    facts: pulumi.Output[SiteFacts]  # what its training is planned from
    resource: pulumi.Resource
    component: pulumi.Resource  # parent of everything that belongs to the site


@dataclass(frozen=True)
class DataContract:
    """A site's own shard."""

    site: str
    folder: Path
    digest: pulumi.Output[str]
    samples: pulumi.Output[int]


@dataclass(frozen=True)
class LinkContract:
    """The way between the sites, as measured, and where each site finds each peer's replica on it."""

    rate_mbps: pulumi.Output[float]
    rtt_ms: pulumi.Output[float]
    serving: Mapping[tuple[str, str], Endpoint]  # (from, to)
    switch: str  # URL of the outage switch
    resource: pulumi.Resource


@dataclass(frozen=True)
class RunContract:
    """A finished training run."""

    run_id: pulumi.Output[str]
    folder: pulumi.Output[str]  # of this run's results
    model: pulumi.Output[str]
    manifest_digest: pulumi.Output[str]
    launch: pulumi.Output[str]  # the LaunchSpec, as JSON
    plan: pulumi.Output[Mapping[str, Any]]  # the Plan that the run obeyed, as JSON values
    metrics: pulumi.Output[Mapping[str, float]]
    link_bytes: pulumi.Output[int]
    ddp_link_bytes: pulumi.Output[int]
    samples: pulumi.Output[int]


@dataclass(frozen=True)
class CompressedContract:
    """A compressed model that passed its gate."""

    folder: pulumi.Output[str]
    model: pulumi.Output[str]
    manifest_digest: pulumi.Output[str]
    before: pulumi.Output[float]
    after: pulumi.Output[float]


@dataclass(frozen=True)
class RegistryContract:
    """A model registry."""

    url: str
    resource: pulumi.Resource


@dataclass(frozen=True)
class VersionContract:
    """A signed, registered version."""

    version: pulumi.Output[str]
    model_digest: pulumi.Output[str]
    page: pulumi.Output[str]
    result: pulumi.Output[str]  # the registration's result.json
    resource: pulumi.Resource


@dataclass(frozen=True)
class ServiceContract:
    """The way in, one a site."""

    endpoints: Mapping[str, pulumi.Output[str]]
