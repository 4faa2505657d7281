"""From stack outputs to launch specs: the hand-over between what exists and what runs on it. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.ports import PortPlan
from infra.topology import Topology
from workloads.planning.link import transfer_s
from workloads.planning.speed import peak_flops
from workloads.spec.base import Credentials, Endpoint
from workloads.spec.errors import UserError
from workloads.spec.facts import SiteFacts
from workloads.spec.launch import LaunchSpec, LinkFacts, RelayChannel, RelaySpec, SiteLaunch
from workloads.spec.plan import Plan
from workloads.spec.recipe import Recipe

# A frame that was lost to the link is asked for again after a round trip or two; a deadline below that many
# transfers would call a slow link an outage.
_DEADLINE_TRANSFERS = 10.0
_DEADLINE_FLOOR_S = 5.0


@dataclass(frozen=True)
class LaunchSite:
    """What a site's resources gave: the facts that its plan was made from, and its data."""

    facts: SiteFacts
    data: Path
    data_digest: str

    @property
    def name(self) -> str:
        """The site's."""
        return self.facts.name


def training_identity(recipe: Recipe, data_digests: Mapping[str, str], workers: Mapping[str, int]) -> str:
    """What makes a run the same run: model, data and training, not how it is compressed, served, reached or planned.

    The plan is left out on purpose. It follows from the recipe and from measurements, and a link that is measured a
    little faster must not train a finished model again: a run keeps the plan that it began with.
    """
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
    return round(max(_DEADLINE_FLOOR_S, _DEADLINE_TRANSFERS * transfer_s(payload_bytes, link)), 1)


def render_launch(
    recipe: Recipe,
    run: str,
    plan: Plan,
    sites: tuple[LaunchSite, ...],
    link: LinkFacts,
    ports: PortPlan,
    credentials: Mapping[str, Credentials],
    tracking: str,
    folder: Path,
) -> LaunchSpec:
    """The launch of one run over all sites, each part of the model with a server and channels of its own.

    `tracking` is the URL of the MLflow server that is told how the run goes; training does not wait for it.

    Raises:
        UserError: the plan has more parts than the stack has ports for.
    """
    if plan.shards > ports.parts:
        raise UserError(
            f"the plan splits the model in {plan.shards} parts, the stack has ports for {ports.parts}; set "
            f"training.overrides.train.layout with at most {ports.parts} parts (shards x tensor x pipeline)"
        )
    parts = range(plan.shards)
    payload = plan.prediction.round_bytes if plan.prediction else 0
    names = [site.name for site in sites]
    return LaunchSpec(
        run_id=run,
        recipe=recipe,
        plan=plan,
        link=link,
        round_deadline_s=round_deadline_s(payload, link),
        output=folder / "runs" / run,
        tracking=tracking,
        sites=tuple(
            SiteLaunch(
                name=site.name,
                workers=plan.sites[site.name].layout.ranks,
                threads=site.facts.threads,
                peak_flops=peak_flops(site.facts, plan.precision),
                rendezvous=ports.rendezvous(index),
                listen=tuple(ports.exchange(index, part) for part in parts),
                peers={
                    peer: tuple(ports.training_channel(index, other, part) for part in parts)
                    for other, peer in enumerate(names)
                    if peer != site.name
                },
                credentials=credentials[site.name],
                data=site.data,
                data_digest=site.data_digest,
                work=folder / "sites" / site.name / "runs" / run,
                metrics=ports.metrics(index).port,
            )
            for index, site in enumerate(sites)
        ),
    )


def render_relay(topology: Topology, ports: PortPlan) -> RelaySpec:
    """Channels in each direction of each link: one for serving, and for training one for each part of the model.

    Raises `UserError` for links that differ: one relay has one rate and one delay.
    """
    figures = {(link.rate, link.rtt_ms) for link in topology.links}
    if len(figures) != 1:
        raise UserError(f"local links must be alike, got {sorted(figures)}; give each the same rate and rtt_ms")
    (rate, rtt_ms) = figures.pop()
    channels = []
    for source, destination in topology.ordered_pairs():
        a, b = topology.index(source), topology.index(destination)
        uses: list[tuple[str, Endpoint, Endpoint]] = [
            ("training", ports.training_channel(a, b, part), ports.exchange(b, part)) for part in range(ports.parts)
        ]
        uses.append(("serving", ports.serving_channel(a, b), ports.replica(b)))
        channels += [
            RelayChannel(source=source, destination=destination, listen=here.port, target=there, purpose=purpose)
            for purpose, here, there in uses
        ]
    return RelaySpec(rate_mbps=rate, rtt_ms=rtt_ms, control=ports.link_control.port, channels=tuple(channels))
