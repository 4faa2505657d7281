"""What infra hands to each job: rendered from stack outputs, parsed by the job with the same class."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from workloads.spec.base import Credentials, Endpoint, Frozen, Name, Port, Sha256, SiteName
from workloads.spec.delivery import Store
from workloads.spec.plan import Plan
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
    class_counts: tuple[NonNegativeInt, ...] = ()  # training samples of each class; empty for text without classes
    files: dict[str, Sha256]

    @property
    def data_digest(self) -> str:
        """Identity of the content, whatever the folder."""
        return self.digest()


class SiteLaunch(Frozen):
    """One site as its trainer sees it: where it listens, how it reaches each peer, and its own folders.

    The model is exchanged in `plan.shards` parts, each between the workers that hold it: `listen[i]` is where this site
    serves part i, `peers[site][i]` where it fetches it.
    """

    name: SiteName
    workers: PositiveInt
    rendezvous: Endpoint  # torchrun's store, inside the site
    listen: tuple[Endpoint, ...]  # the exchange's servers
    peers: dict[SiteName, tuple[Endpoint, ...]]  # through the link
    credentials: Credentials | None  # None: plain text, loopback only
    data: Path
    data_digest: Sha256 | None  # None: the site makes its data after it was launched, and tells what it has made
    work: Path  # checkpoints, events, logs of this run
    threads: PositiveInt = 1
    peak_flops: PositiveFloat | None = None  # what one worker can do at most, in the plan's precision; None: not known
    metrics: Port | None = None  # at `metrics_host`, for Prometheus
    metrics_host: str = "127.0.0.1"
    checkpoints: str | None = None  # folder, or address that `fsspec` writes to; None: below `work`


class LaunchSpec(Frozen):
    """`torchrun ... -m workloads.trainer SPEC --site NAME`: one training run over all sites."""

    run_id: Name
    recipe: Recipe
    plan: Plan  # what the trainer obeys; the recipe says what was asked for
    sites: tuple[SiteLaunch, ...]
    link: LinkFacts
    round_deadline_s: PositiveFloat  # a site that has not heard by then goes on training and adds to its samples
    output: Path  # the fused model and `result.json`, written by the first site
    tracking: str | None = None  # MLflow: the address of a server, or `sqlite:///FILE`
    shared: Store | None = None  # of sites whose folders lie apart: for summaries, and the result; None: one machine

    @model_validator(mode="after")
    def _sites_fit(self) -> "LaunchSpec":
        names = [site.name for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError(f"site names repeat: {names}")
        for site in self.sites:
            missing = set(names) - {site.name} - set(site.peers)
            if missing:
                raise ValueError(f"site {site.name} has no way to {sorted(missing)}; give it in peers")
            if site.name not in self.plan.sites:
                raise ValueError(f"site {site.name} is not in the plan of {sorted(self.plan.sites)}")
            if site.workers != self.plan.sites[site.name].layout.ranks:
                raise ValueError(
                    f"site {site.name} has {site.workers} workers, its layout ({self.plan.sites[site.name].layout}) needs "
                    f"{self.plan.sites[site.name].layout.ranks}"
                )
            counts = {len(site.listen), *(len(endpoints) for endpoints in site.peers.values())}
            if counts != {self.plan.shards}:
                raise ValueError(
                    f"site {site.name} has endpoints for {sorted(counts)} parts of the model, the plan has {self.plan.shards}"
                )
        return self

    def site(self, name: str) -> SiteLaunch:
        """The site called `name`. Raises `KeyError`."""
        return {site.name: site for site in self.sites}[name]


class FisherLaunch(Frozen):
    """`python -m workloads.fusion.fisher SPEC`: the diagonal Fisher information of `model` on one site's data.

    It is made where the data lies; `output`, a safetensors file of the model's size, is all that leaves the site.
    """

    model: Path
    shard: Path
    samples: PositiveInt = 256  # at most; of the held-out part
    seed: int = 0
    output: Path


class FuseSource(Frozen):
    """A finished model, and what the merge is to know of it."""

    model: Path
    samples: PositiveInt | None = None  # that it has learned from
    fisher: Path | None = None  # file of a `FisherLaunch` of this very model


class FuseLaunch(Frozen):
    """`python -m workloads.fusion SPEC`: one model of several of the same architecture.

    `weighted` and `fisher` take `weights`, else weights by the sources' `samples`, else equal ones. `greedy-soup` needs
    `shards`, on whose held-out data the candidates are judged; where they are given, every fused model is judged.
    """

    run_id: Name
    sources: Annotated[tuple[FuseSource, ...], Field(min_length=2)]
    method: Literal["weighted", "fisher", "greedy-soup", "ties"]
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    base: Path | None = None  # ties: the model that all sources began as
    density: Annotated[float, Field(gt=0, le=1)] = 0.2  # ties: share of each model's changes that is kept
    scale: PositiveFloat = 1.0  # ties: of the merged changes
    shards: dict[SiteName, Path] = Field(default_factory=dict)
    output: Path

    @model_validator(mode="after")
    def _method_has_what_it_needs(self) -> "FuseLaunch":
        if self.weights is not None:
            if self.method not in {"weighted", "fisher"}:
                raise ValueError(f"{self.method} knows no weights; leave them out, or choose weighted or fisher")
            if len(self.weights) != len(self.sources):
                raise ValueError(f"{len(self.weights)} weights for {len(self.sources)} sources; give one each")
            if abs(sum(self.weights) - 1) > 1e-6:
                raise ValueError(f"weights sum up to {sum(self.weights):g}, not 1; divide each by their sum")
        if len({source.samples is None for source in self.sources}) > 1:
            raise ValueError("samples are given for some sources only; give them for all, or for none")
        if self.method == "fisher" and any(source.fisher is None for source in self.sources):
            raise ValueError(
                "fisher needs the Fisher information of every source; make it with workloads.fusion.fisher"
            )
        if (self.method == "ties") != (self.base is not None):
            raise ValueError("ties, and it alone, needs base: the model that all sources began as")
        if self.method == "greedy-soup" and not self.shards:
            raise ValueError("greedy-soup needs shards, on whose held-out data the candidates are judged")
        return self


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
    version: str | None  # None: what the delivery beside `model` says
    public_key: Path  # verifies `model/model.sig` before anything is loaded
    further_keys: tuple[Path, ...] = ()  # that are trusted as well
    listen: Endpoint
    credentials: Credentials | None
    health: Endpoint | None = None  # health and metrics alone, in plain text, for whoever watches replicas
    threads: PositiveInt = 1

    @model_validator(mode="after")
    def _health_is_apart(self) -> "ServeLaunch":
        if self.health is not None and (self.credentials is not None or self.health.port == self.listen.port):
            raise ValueError(
                f"health at {self.health} goes with a port of its own and without credentials; with them the service's "
                "own port tells its health, so leave health out"
            )
        return self


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
