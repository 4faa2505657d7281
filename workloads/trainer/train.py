"""One site's training from launch to result: reads top to bottom like the run itself."""

import hashlib
import json
import resource
from contextlib import ExitStack

import torch
from torch import nn
from torch.optim import Optimizer

from workloads.spec.errors import UserError
from workloads.spec.launch import LaunchSpec, SiteLaunch
from workloads.trainer.checkpoint import CheckpointStore, Progress
from workloads.trainer.data import open_data
from workloads.trainer.evaluation import tally
from workloads.trainer.finished import training_facts
from workloads.trainer.lead import Lead, open_lead
from workloads.trainer.loop import RoundLoop, Site
from workloads.trainer.model import build_model, predictor
from workloads.trainer.optim import build_optimizer
from workloads.trainer.publish import publish
from workloads.trainer.rounds import SiteRounds
from workloads.trainer.shard_files import verify_shard
from workloads.trainer.state import restore
from workloads.trainer.world import World, join_world

_CHECKPOINTS = "checkpoints"


def train_site(launch: LaunchSpec, site: SiteLaunch) -> None:
    """Train as one rank of `site`, from the newest round that all sites have a checkpoint of to the last one.

    Raises:
        UserError: data, recipe, workers, ports or disk do not allow it; the message says what to do.
    """
    verify_shard(site.data, site.data_digest)
    recipe = launch.recipe
    with join_world(site.threads, recipe.train.seed) as world, ExitStack() as stack:
        _check_workers(site, world)
        model = build_model(recipe).to(world.device)  # the same at every site: same seed
        optimizer = build_optimizer(recipe.train.inner, model)
        store = CheckpointStore(site.work / _CHECKPOINTS, recipe.train.checkpoint.keep, _identity(launch, site))
        lead = stack.enter_context(open_lead(launch, site, model, store)) if world.is_first else None
        progress = _resume(world, lead, store, model, optimizer)
        loop = RoundLoop(
            Site(
                name=site.name,
                recipe=recipe,
                round_deadline_s=launch.round_deadline_s,
                world=world,
                model=model,
                optimizer=optimizer,
                data=open_data(recipe, site.data),
                rounds=SiteRounds(world, model, lead.synchronizer if lead else None),
                hooks=lead.hooks if lead else (),
                save=lead.save if lead else _save_nothing,
            ),
            progress,
        )
        finished = loop.run()
        peak_memory = int(world.gather(torch.tensor(_peak_memory_bytes(), device=world.device)).sum())
        if lead is not None:
            sums = tally(recipe, predictor(model, world.device), site.data)
            summaries = lead.conclude(finished, sums, peak_memory)
            if site.name == launch.sites[0].name:
                publish(launch, model, summaries)


def _resume(
    world: World, lead: Lead | None, store: CheckpointStore, model: nn.Module, optimizer: Optimizer
) -> Progress:
    number = world.share(lead.agree_on_round() if lead else 0)
    if number == 0:
        torch.manual_seed(torch.initial_seed() + world.rank)  # ranks draw apart once the model is made
        progress, outer = Progress(), None
    else:
        progress, tensors = store.load(number)
        outer = restore(tensors, model, optimizer, world.device, world.rank)
    if lead is not None:
        lead.resume(progress, outer)
    return progress


def _check_workers(site: SiteLaunch, world: World) -> None:
    if world.size != site.workers:
        raise UserError(
            f"site {site.name}: {world.size} processes were started for {site.workers} workers; "
            f"use torchrun --nproc-per-node {site.workers}"
        )


def _identity(launch: LaunchSpec, site: SiteLaunch) -> str:
    """What a checkpoint must agree on to be of use: everything that the course of training depends on."""
    facts = [
        training_facts(launch.recipe),
        site.name,
        site.workers,
        [[peer.name, peer.data_digest] for peer in launch.sites],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _save_nothing(*_: object) -> None:
    """Other ranks than the first have nothing of their own to save."""


def _peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
