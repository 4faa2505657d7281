"""What infra hands to each job: rendered from stack outputs, parsed by the job with the same class."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from workloads.spec.base import Credentials, Endpoint, Frozen, Name, Port, Sha256, SiteName
from workloads.spec.recipe import Recipe


class LinkFacts(Frozen):
    """The link between two sites as measured when it was made."""

    rate_mbps: PositiveFloat
    rtt_ms: Annotated[float, Field(ge=0)]


class ShardLaunch(Frozen):
    """`python -m workloads.trainer.shard SPEC`: make site `site`'s part of the data, of `sites` parts, in `folder`."""

    recipe: Recipe
    site: SiteName
    sites: tuple[SiteName, ...]
    folder: Path


class ShardManifest(Frozen):
    """`manifest.json` of a shard: what a site's data is, without any of it."""

    site: SiteName
    samples: PositiveInt  # rows, or bytes of text
    held_out_samples: PositiveInt
    files: dict[str, Sha256]

    @property
    def data_digest(self) -> str:
        """Identity of the content, whatever the folder."""
        return self.digest()


class SiteLaunch(Frozen):
    """One site as its trainer sees it: where it listens, how it reaches each peer, and its own folders."""

    name: SiteName
    workers: PositiveInt
    rendezvous: Endpoint  # torchrun's store, inside the site
    listen: Endpoint  # the exchange's server
    peers: dict[SiteName, Endpoint]  # through the link
    credentials: Credentials | None  # None: plain text, loopback only
    data: Path
    data_digest: Sha256
    work: Path  # checkpoints, events, logs of this run
    threads: PositiveInt = 1


class LaunchSpec(Frozen):
    """`torchrun ... -m workloads.trainer SPEC --site NAME`: one training run over all sites."""

    run_id: Name
    recipe: Recipe
    sites: tuple[SiteLaunch, ...]
    link: LinkFacts
    round_deadline_s: PositiveFloat  # a site that has not heard by then goes on training and adds to its samples
    output: Path  # the fused model and `result.json`, written by the first site

    @model_validator(mode="after")
    def _sites_fit(self) -> "LaunchSpec":
        names = [site.name for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError(f"site names repeat: {names}")
        for site in self.sites:
            missing = set(names) - {site.name} - set(site.peers)
            if missing:
                raise ValueError(f"site {site.name} has no way to {sorted(missing)}; give it in peers")
        return self

    def site(self, name: str) -> SiteLaunch:
        """The site called `name`. Raises `KeyError`."""
        return {site.name: site for site in self.sites}[name]


class CompressLaunch(Frozen):
    """`python -m workloads.compression SPEC`: prune, quantise and export `model`, judged on the sites' held-out data."""

    recipe: Recipe
    model: Path
    shards: dict[SiteName, Path]
    output: Path


class RegisterLaunch(Frozen):
    """`python -m workloads.registry SPEC`: sign `model` and register it with its lineage."""

    registry: str  # URL of the MLflow server
    recipe: Recipe
    model: Path  # the compressed artefact
    trained: Path  # the fused artefact that it came from
    signing_key: Path
    alias: Name = "champion"
    output: Path  # where `result.json` goes


class ServeLaunch(Frozen):
    """`python -m workloads.inference SPEC`: one replica of one model version at one site."""

    site: SiteName
    recipe: Recipe
    model: Path
    version: str
    public_key: Path  # verifies `model/model.sig` before anything is loaded
    listen: Endpoint
    credentials: Credentials | None
    threads: PositiveInt = 1


class RelayChannel(Frozen):
    """One direction of use of the link: connections to `listen` come out at `target`."""

    source: SiteName
    destination: SiteName
    listen: Port
    target: Endpoint
    purpose: Name


class RelaySpec(Frozen):
    """`python -m infra.local.relay SPEC`: the emulated WAN. Rate and delay hold for each direction, over all channels."""

    rate_mbps: PositiveFloat
    rtt_ms: Annotated[float, Field(ge=0)]
    control: Port
    channels: tuple[RelayChannel, ...]


class ReportLaunch(Frozen):
    """`python -m workloads.report SPEC`: one self-contained page about a run."""

    launch: LaunchSpec
    compressed: Path
    registered: Path  # the `result.json` of the registration
    picture_svg: str  # the platform, drawn from the stack
    output: Path  # the HTML file
