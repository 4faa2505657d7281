"""From stack outputs to launch specs: the hand-over between what exists and what runs on it. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.ports import PortPlan
from infra.topology import Topology
from workloads.spec.base import Credentials, Endpoint
from workloads.spec.errors import UserError
from workloads.spec.launch import LaunchSpec, LinkFacts, RelayChannel, RelaySpec, SiteLaunch
from workloads.spec.recipe import MlpModel, Recipe

# A frame that was lost to the link is asked for again after a round trip or two; a deadline below that many
# transfers would call a slow link an outage.
_DEADLINE_TRANSFERS = 10.0
_DEADLINE_FLOOR_S = 5.0


@dataclass(frozen=True)
class SiteFacts:
    """What a site's resources gave: the values behind `SiteContract` and `DataContract`."""

    name: str
    workers: int
    threads: int
    data: Path
    data_digest: str


def training_identity(recipe: Recipe, data_digests: Mapping[str, str], workers: Mapping[str, int]) -> str:
    """What makes a run the same run: model, data and training, not how it is compressed, served or reached."""
    parts = [recipe.model.model_dump_json(), recipe.data.model_dump_json(), recipe.train.model_dump_json()]
    parts += [f"{site}={data_digests[site]}x{workers[site]}" for site in data_digests]
    return digest_of(recipe.name, *parts)


def digest_of(*parts: str) -> str:
    """SHA-256 over parts, none of which can be mistaken for two."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def run_id(recipe: Recipe, identity: str) -> str:
    """Name of a run: the same work finds its own checkpoints again."""
    return f"{recipe.name}-{identity[:10]}"


def round_deadline_s(payload_bytes: int, link: LinkFacts) -> float:
    """Seconds after which a site stops waiting for a round: ten times what its frames should take on the link."""
    transfer_s = payload_bytes * 8 / (link.rate_mbps * 1e6) + link.rtt_ms / 1e3
    return round(max(_DEADLINE_FLOOR_S, _DEADLINE_TRANSFERS * transfer_s), 1)


def parameter_count(recipe: Recipe) -> int:
    """Parameters, counted from the recipe: exact for `mlp`, from the config's shapes for a decoder of `transformers`."""
    model = recipe.model
    if isinstance(model, MlpModel):
        return (model.inputs + 1) * model.hidden + (model.hidden + 1) * model.classes
    shape = {key: int(value) for key, value in model.config.items() if isinstance(value, int)}
    hidden, layers = shape["hidden_size"], shape["num_hidden_layers"]
    block = 4 * hidden * hidden + 3 * hidden * shape["intermediate_size"] + 2 * hidden
    embeddings = shape["vocab_size"] * hidden * (1 if model.config.get("tie_word_embeddings") else 2)
    return embeddings + layers * block + hidden


def render_launch(
    recipe: Recipe,
    run: str,
    sites: tuple[SiteFacts, ...],
    link: LinkFacts,
    ports: PortPlan,
    credentials: Mapping[str, Credentials],
    folder: Path,
) -> LaunchSpec:
    """The launch of one run over all sites, its peers reached through the link's channels."""
    payload = parameter_count(recipe) * recipe.train.outer.bits // 8
    names = [site.name for site in sites]
    return LaunchSpec(
        run_id=run,
        recipe=recipe,
        link=link,
        round_deadline_s=round_deadline_s(payload, link),
        output=folder / "runs" / run,
        sites=tuple(
            SiteLaunch(
                name=site.name,
                workers=site.workers,
                threads=site.threads,
                rendezvous=ports.rendezvous(index),
                listen=ports.exchange(index),
                peers={
                    peer: ports.training_channel(index, other) for other, peer in enumerate(names) if peer != site.name
                },
                credentials=credentials[site.name],
                data=site.data,
                data_digest=site.data_digest,
                work=folder / "sites" / site.name / "runs" / run,
            )
            for index, site in enumerate(sites)
        ),
    )


def render_relay(topology: Topology, ports: PortPlan) -> RelaySpec:
    """Channels for training and for serving in each direction of each link.

    Raises `UserError` for links that differ: one relay has one rate and one delay.
    """
    figures = {(link.rate, link.rtt_ms) for link in topology.links}
    if len(figures) != 1:
        raise UserError(f"local links must be alike, got {sorted(figures)}; give each the same rate and rtt_ms")
    (rate, rtt_ms) = figures.pop()
    channels = []
    for source, destination in topology.ordered_pairs():
        a, b = topology.index(source), topology.index(destination)
        uses: tuple[tuple[str, Endpoint, Endpoint], ...] = (
            ("training", ports.training_channel(a, b), ports.exchange(b)),
            ("serving", ports.serving_channel(a, b), ports.replica(b)),
        )
        channels += [
            RelayChannel(source=source, destination=destination, listen=here.port, target=there, purpose=purpose)
            for purpose, here, there in uses
        ]
    return RelaySpec(rate_mbps=rate, rtt_ms=rtt_ms, control=ports.link_control.port, channels=tuple(channels))
