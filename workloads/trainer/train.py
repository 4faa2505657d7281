"""One site's training from launch to result: reads top to bottom like the run itself."""

import hashlib
import resource
from collections import Counter
from contextlib import ExitStack, closing
from typing import Any

import torch
import torch.distributed as dist

from workloads.spec.launch import LaunchSpec, ShardManifest, SiteLaunch
from workloads.trainer.checkpoints import CheckpointStore, Journal, Progress, TurnLog
from workloads.trainer.checkpoints.state import SiteState, seed_all
from workloads.trainer.cohort import SiteCohort
from workloads.trainer.data import open_data
from workloads.trainer.evaluation import tally
from workloads.trainer.judging import site_predictor
from workloads.trainer.lead import Lead, open_lead
from workloads.trainer.loop import Site, SiteLoop
from workloads.trainer.losses import training_loss
from workloads.trainer.model import build_model
from workloads.trainer.optim import build_optimizer
from workloads.trainer.parallelise import ParallelModel, parallelise
from workloads.trainer.part import Part, open_part
from workloads.trainer.publish import publish
from workloads.trainer.refusals import SiteRefusals
from workloads.trainer.rounds import SiteRounds
from workloads.trainer.saving import StateSaver, open_store
from workloads.trainer.shard_files import verify_shard
from workloads.trainer.summary import Summaries
from workloads.trainer.telling import Teller
from workloads.trainer.world import World, join_world

_LOOK_S = 1.0


def train_site(launch: LaunchSpec, site: SiteLaunch) -> None:
    """Train as one rank of `site`, from the newest round that all sites have a checkpoint of to the last one.

    Raises:
        UserError: data, recipe, workers, ports or disk do not allow it; the message says what to do.
    """
    shard = verify_shard(site.data, site.data_digest)
    recipe, plan = launch.recipe, launch.plan
    layout = plan.sites[site.name].layout
    with join_world(site.threads, recipe.train.seed, layout) as world, ExitStack() as stack:
        seed_all(recipe.train.seed)  # the model is the same at every site
        model = build_model(recipe).to(world.device)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        store = open_store(launch, site, parameters)
        parallel = parallelise(model, plan, plan.sites[site.name], world, training_loss(recipe, shard.class_counts))
        optimizer = build_optimizer(recipe.train.inner, parallel)
        part = stack.enter_context(open_part(launch, site, parallel)) if parallel.owns_part else None
        refused = SiteRefusals(world, part.exchange.refused if part is not None else Counter())
        lead = stack.enter_context(open_lead(launch, site, store, refused.by_reason)) if world.is_first else None
        synchronizer = part.synchronizer if part is not None else None
        rounds = SiteRounds(world, parallel, plan.fragments, synchronizer)
        saver = stack.enter_context(
            closing(
                StateSaver(
                    world=world,
                    layout=layout,
                    store=store,
                    state=SiteState(parallel, optimizer, synchronizer, world.device),
                    wire_bytes=lambda: part.exchange.wire_bytes_sent if part is not None else 0,
                    on_outcome=lead.checkpointed if lead is not None else None,
                )
            )
        )
        cohort = SiteCohort(world, part, tuple(sorted(site.peers)))
        data = open_data(recipe, site.data)
        teller = Teller(
            name=site.name,
            launch=launch,
            world=world,
            parallel=parallel,
            data=data,
            hooks=lead.hooks if lead is not None else (),
            refused=refused,
            parameters=parameters,
        )
        journal = _journal(launch, world, store, part)
        progress, must_heal = _resume(launch, world, lead, cohort, saver, rounds)
        journal.resume(rounds.begun, rounds.committed)
        loop = SiteLoop(
            Site(site.name, launch, parallel, optimizer, data, rounds, cohort, teller, journal, saver.save), progress
        )
        finished = loop.run(must_heal=must_heal)
        saver.finish()
        if finished is None:
            return
        _conclude(launch, site, shard, world, parallel, part, lead, cohort, saver.with_wire_bytes(finished))


def _journal(launch: LaunchSpec, world: World, store: CheckpointStore, part: Part | None) -> Journal:
    """What this site has done before, as the first rank finds it; the owner of a part keeps it for all."""
    told: list[Any] = [store.kept_log() if world.is_first else None]
    if world.size > 1:
        dist.broadcast_object_list(told, src=0, device=world.device)
    spec = launch.recipe.train.checkpoint

    def write(log: TurnLog) -> None:
        if part is not None:
            store.keep_log(part.exchange.part, log)

    # of the oldest state that is kept, with one that is being written
    depth = (spec.keep + 2) * spec.every_rounds * launch.plan.fragments
    return Journal(told[0], depth=depth, write=write if part is not None else None)


def _resume(
    launch: LaunchSpec, world: World, lead: Lead | None, cohort: SiteCohort, saver: StateSaver, rounds: SiteRounds
) -> tuple[Progress, bool]:
    """Go back to the newest round that all sites can go on after. Whether the others went on too far, and it must heal."""
    told: list[Any] = [None]
    if lead is not None:
        usable = lead.usable_rounds()
        told = [(usable, lead.is_alone_at_the_end(usable))]
        if not told[0][1]:
            lead.say_who_is_awaited()
    if world.size > 1:
        dist.broadcast_object_list(told, src=0, device=world.device)
    usable, is_alone = told[0]
    newest = usable[-1] if usable else 0
    number = newest if is_alone else cohort.start(usable, launch.run_id)
    progress = saver.restore(newest if number is None else number, launch.recipe.train.seed)
    committed = progress.round * launch.plan.fragments
    rounds.go_on(committed + len(progress.pending), committed)
    if lead is not None:
        lead.go_on(progress)
    if number is not None:
        cohort.settle()
    return progress, number is None


def _conclude(
    launch: LaunchSpec,
    site: SiteLaunch,
    shard: ShardManifest,
    world: World,
    parallel: ParallelModel,
    part: Part | None,
    lead: Lead | None,
    cohort: SiteCohort,
    finished: Progress,
) -> None:
    """Serve the others what they still need, leave this site's summary, and at the first site publish the model."""
    sums = tally(launch.recipe, site_predictor(parallel), site.data)
    peak_memory = int(world.gather(torch.tensor(_peak_memory_bytes(), device=world.device)).sum())
    weights = parallel.full_state()
    told = Summaries(launch)
    while True:
        is_done = part is None or part.exchange.drain(_LOOK_S) or told.others_are_done(site.name)
        if world.gather(torch.tensor(int(is_done), device=world.device)).min():
            break
        cohort.tend()
    digest, refused = _of_all_parts(world, part)
    if lead is None:
        return
    lead.conclude(
        finished,
        sums,
        data_digest=shard.data_digest,
        state_digest=digest,
        refused=refused,
        peak_memory_bytes=peak_memory,
    )
    summaries = lead.await_summaries(cohort.sites)
    if site.name == next(each.name for each in launch.sites if each.name in cohort.sites) and weights is not None:
        model = build_model(launch.recipe)
        model.load_state_dict(weights)
        publish(launch, model, summaries)


def _of_all_parts(world: World, part: Part | None) -> tuple[str, Counter[str]]:
    """The digest of the whole outer state, and the frames that any part has refused, by reason."""
    mine = None
    if part is not None:
        mine = (part.exchange.part, part.synchronizer.digest(), dict(part.exchange.refused))
    every: list[Any] = [mine]
    if world.size > 1:
        every = [None] * world.size
        dist.all_gather_object(every, mine)
    parts = sorted(each for each in every if each is not None)
    digests = [digest for _, digest, _ in parts]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return whole, sum((Counter(refused) for _, _, refused in parts), Counter())


def _peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
