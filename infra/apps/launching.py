"""From what the stack knows of its sites to what their trainers are launched with. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.apps.allotments import Allotment, of_trainer
from infra.apps.pods import EVERYWHERE, WORK
from infra.cloud_contracts import PoolContract
from infra.cloud_settings import ServingSettings
from infra.local.launch import digest_of, round_deadline_s, run_id
from infra.mesh import ports
from infra.scheduling.quotas import GPU, flavor_name, nominal_quotas, training_pools
from workloads.planning import plan_run
from workloads.planning.speed import peak_flops
from workloads.spec.base import Credentials, Endpoint
from workloads.spec.delivery import Store
from workloads.spec.errors import UserError
from workloads.spec.facts import SiteFacts
from workloads.spec.launch import LaunchSpec, LinkFacts, SiteLaunch
from workloads.spec.plan import Plan
from workloads.spec.recipe import Recipe

TLS: Final = Path("/etc/isthmus/tls")

_NO_ACCELERATOR = "cpu"  # the kind of a pool whose GPUs are only counted
_MIB = 1 << 20


@dataclass(frozen=True)
class SitePart:
    """A site's part of the run: equal nodes of one pool, a pod on each, and in it a worker a GPU."""

    pool: PoolContract
    nodes: int
    trainer: Allotment  # of each pod

    @property
    def workers(self) -> int:
        return self.nodes * self.pool.gpus_per_node

    @property
    def threads(self) -> int:
        """Of each worker: whole cores, at least one."""
        return max(1, self.trainer.millicores // 1000 // self.pool.gpus_per_node)

    @property
    def facts(self) -> SiteFacts:
        """What the planner is told."""
        is_pretended = self.pool.accelerator.kind == _NO_ACCELERATOR
        return SiteFacts(
            name=self.pool.site,
            workers=self.workers,
            threads=self.threads,
            memory_bytes=self.trainer.memory_mib * _MIB // self.pool.gpus_per_node,
            accelerator=None if is_pretended else self.pool.accelerator,
        )


@dataclass(frozen=True)
class Launching:
    """A planned run. Its name follows from all that its course depends on: the same work finds its own states again."""

    recipe: Recipe
    parts: Mapping[str, SitePart]  # in the stack's order of sites
    link: LinkFacts
    plan: Plan
    identity: str

    @property
    def run_id(self) -> str:
        return run_id(self.recipe, self.identity)

    @property
    def job(self) -> str:
        """The JobSet's name."""
        return f"train-{self.identity[:8]}"

    @property
    def first(self) -> str:
        """The site that publishes the model."""
        return next(iter(self.parts))

    def rendezvous(self, site: str) -> Endpoint:
        """Where the workers of a site meet: nowhere but at home, if they are all in one pod."""
        host = "127.0.0.1" if self.parts[site].nodes == 1 else self.host(site, 0)
        return Endpoint(host=host, port=ports.RENDEZVOUS)

    def host(self, site: str, node: int) -> str:
        """The name of a pod, for other pods of its namespace, whichever pod bears it at the time.

        https://jobset.sigs.k8s.io/docs/concepts/#network
        """
        return f"{self.job}-{site}-0-{node}.{self.job}"


def plan_training(
    recipe: Recipe,
    sites: Sequence[str],
    pools: Sequence[PoolContract],
    link: LinkFacts,
    serving: ServingSettings,
) -> Launching:
    """The run over all `sites`: planned from their pools and the link.

    The plan is a part of what makes the run: it follows from values of the stack alone, so another plan is a wish, and
    states that were made by the old one do not fit it.

    Raises:
        UserError: a site has no GPU for training, or the recipe does not fit the sites.
    """
    parts = site_parts(recipe, sites, pools, serving)
    plan = plan_run(recipe, [part.facts for part in parts.values()], link)
    most = ports.EXCHANGE[1] - ports.EXCHANGE[0] + 1
    if plan.shards > most:
        raise UserError(
            f"the plan splits the model in {plan.shards} parts, and network policies let {most} ports through; set "
            f"training.overrides.train.layout with at most {most} parts (shards x tensor x pipeline)"
        )
    made_of = [text.model_dump_json() for text in (recipe.model, recipe.data, recipe.train)]
    course = plan.model_dump_json(exclude={"prediction", "reasons", "sites"})
    shares = [f"{name}={plan.sites[name].batch}x{part.workers}" for name, part in parts.items()]
    return Launching(recipe, parts, link, plan, digest_of(recipe.name, *made_of, course, *shares))


def site_parts(
    recipe: Recipe, sites: Sequence[str], pools: Sequence[PoolContract], serving: ServingSettings
) -> dict[str, SitePart]:
    """By site, the nodes that its trainers get: all that the queue has of the site's best pool.

    Raises:
        UserError: a site has no pool with GPUs, or serving leaves too little of it.
    """
    chosen, quotas = training_pools(pools), nominal_quotas(pools, serving)
    missing = [site for site in sites if site not in chosen]
    if missing:
        raise UserError(
            f"sites {missing} have no GPUs, so nothing trains there; add {missing[0]}'s gpu_pools or gpu_servers"
        )
    parts = {}
    for site in sites:
        pool = chosen[site]
        nodes = quotas[flavor_name(pool)][GPU] // pool.gpus_per_node
        if nodes == 0:
            raise UserError(
                f"site {site!r}: serving leaves no whole node of pool {pool.name} for training; lower "
                "cloud.serving.replicas.desired or cloud.serving.gpus, or add nodes"
            )
        parts[site] = SitePart(pool, nodes, of_trainer(pool, nodes, recipe, serving))
    return parts


def render_launch(run: Launching, stores: Mapping[str, str], shared: Store, tracking: str) -> LaunchSpec:
    """The launch of the run. `stores` are addresses by site; `shared` is the one that all sites reach.

    What a site's data is, is not known here: each makes its own, where it is trained on.
    """
    shards = range(run.plan.shards)
    payload = run.plan.prediction.round_bytes if run.plan.prediction else 0
    return LaunchSpec(
        run_id=run.run_id,
        recipe=run.recipe,
        plan=run.plan,
        link=run.link,
        round_deadline_s=round_deadline_s(payload, run.link),
        output=WORK / "output",
        tracking=tracking,
        shared=shared,
        sites=tuple(
            SiteLaunch(
                name=site,
                workers=part.workers,
                threads=part.threads,
                rendezvous=run.rendezvous(site),
                listen=tuple(Endpoint(host=EVERYWHERE, port=_port(shard)) for shard in shards),
                peers={
                    peer: tuple(_exchange(run, peer, shard) for shard in shards) for peer in run.parts if peer != site
                },
                credentials=Credentials(ca=TLS / "ca.crt", certificate=TLS / "tls.crt", key=TLS / "tls.key"),
                data=WORK / "data",
                data_digest=None,
                work=WORK / "state",
                metrics=ports.TRAINER_METRICS,
                metrics_host=EVERYWHERE,
                peak_flops=peak_flops(part.facts, run.plan.precision),
                checkpoints=f"{stores[site]}/checkpoints/{run.run_id}/{site}",
            )
            for site, part in run.parts.items()
        ),
    )


def _exchange(run: Launching, site: str, shard: int) -> Endpoint:
    """Where a site serves a part of the model: on the node of the rank that owns the part."""
    node = run.plan.sites[site].layout.owner(shard) // run.parts[site].pool.gpus_per_node
    return Endpoint(host=run.host(site, node), port=_port(shard))


def _port(shard: int) -> int:
    return ports.EXCHANGE[0] + shard
