"""What this product's planner makes of a task: the one place that the product's settings come from, in both stages."""

import subprocess
import sys

from pydantic import ValidationError

from tests.bench.wan.jobs import SITES, Job, Method, Task
from workloads.planning import plan_run
from workloads.planning.size import parameter_count
from workloads.spec.base import Frozen
from workloads.spec.errors import UserError, explain
from workloads.spec.facts import Calibration, SiteFacts
from workloads.spec.launch import LinkFacts
from workloads.spec.plan import Bits, Plan
from workloads.spec.recipe import Recipe, load_recipe

# 32 / 4.0625 bits a value: from 52 steps a round on, it is 400 times less than DDP with room for headers
STEPS = 52
BITS: Bits = 4
_MEMORY_BYTES = 8 << 30


class Wishes(Frozen):
    """What is not left to the planner. None: it is."""

    steps: int = STEPS
    bits: Bits = BITS
    overlap_steps: int | None = None
    fragments: int | None = None
    outer_lr: float | None = None
    outer_momentum: float | None = None


def method_of(name: str, task: Task, link: LinkFacts, machine: Calibration, wishes: Wishes) -> Method:
    """The product's way to do `task` over `link` on two such machines, as its planner has it for the whole schedule."""
    plan = plan_run(_recipe(task, task.steps, wishes), _sites(machine), link)
    return Method(
        name=name,
        kind="isthmus",
        period=wishes.steps,
        overlap_steps=plan.overlap_steps,
        bits=plan.bits,
        fragments=plan.fragments,
        outer_lr=wishes.outer_lr,
        outer_momentum=wishes.outer_momentum,
    )


def plan_of(job: Job) -> Plan:
    """The plan of a job of kind `isthmus`: outer settings not given are those that fit as many rounds as it makes."""
    method = job.method
    wishes = Wishes(
        steps=method.period,
        bits=method.bits,
        overlap_steps=method.overlap_steps,
        fragments=method.fragments,
        outer_lr=method.outer_lr,
        outer_momentum=method.outer_momentum,
    )
    # nothing that depends on the link or on the machine is open any more
    return plan_run(_recipe(job.task, job.steps, wishes), _sites(None), LinkFacts(rate_mbps=100, rtt_ms=30))


def step_s(task: Task, machine: Calibration) -> float:
    """What a step takes, by the planner."""
    plan = plan_run(_recipe(task, task.steps, Wishes()), _sites(machine), LinkFacts(rate_mbps=100, rtt_ms=30))
    return max(site.step_s or 0.0 for site in plan.sites.values())


def parameters(task: Task) -> int:
    """Of the task's model."""
    return parameter_count(_recipe(task, task.steps, Wishes()))


def calibrate() -> Calibration:
    """How fast one core is, found out as the product does, by a process with one thread."""
    command = [sys.executable, "-m", "workloads.planning.calibrate", "--threads", "1"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    try:
        return Calibration.model_validate_json(said)
    except ValidationError as error:
        raise UserError(explain(error, "calibration")) from None


def _sites(machine: Calibration | None) -> list[SiteFacts]:
    speed = machine.model_dump() if machine else {}
    return [SiteFacts(name=name, workers=1, memory_bytes=_MEMORY_BYTES, **speed) for name in SITES]


def _recipe(task: Task, steps: int, wishes: Wishes) -> Recipe:
    def open_or(value: float | None) -> float | str:
        return "auto" if value is None else value

    document = load_recipe("language").model_dump(mode="json")
    document["model"]["config"] = task.model
    document["data"]["context"] = task.context
    document["train"] = {
        "epochs": 1,
        "steps_per_epoch": steps,
        "inner": {
            "optimizer": task.optimizer,
            "lr": task.lr,
            "muon_momentum": task.muon_momentum,
            "batch": task.batch,
            "micro_batch": task.batch,
            "steps": wishes.steps,
        },
        "outer": {
            "lr": open_or(wishes.outer_lr),
            "momentum": open_or(wishes.outer_momentum),
            "bits": wishes.bits,
            "overlap_steps": open_or(wishes.overlap_steps),
            "fragments": open_or(wishes.fragments),
        },
    }
    return Recipe.model_validate(document)
