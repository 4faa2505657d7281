"""What the planner predicts of a step, beside what the step takes: `make bench BENCH=planner`.

Six settings on one core: two sizes of Llama, batches whole and in micro-batches, with and without activation checkpointing,
AdamW and Muon. A step is timed by the processor's clock, which on a core of its own is the time that it takes.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from workloads.planning.calibrate import calibrate
from workloads.planning.compute import step_time
from workloads.planning.recognise import architecture
from workloads.planning.size import parameter_count
from workloads.planning.speed import worker_speed
from workloads.spec.facts import Calibration, SiteFacts
from workloads.spec.plan import Layout, Plan, RoundPlan, SitePlan
from workloads.spec.recipe import Recipe, load_recipe
from workloads.trainer.losses import training_loss
from workloads.trainer.model import build_model
from workloads.trainer.optim import build_optimizer
from workloads.trainer.parallelise import parallelise
from workloads.trainer.world import World

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / ".state/bench/planner.json"
BAR = 0.15
REPEATS = 5
SIZES = {"0.8 M": (128, 344, 128), "3.2 M": (256, 688, 256)}  # width, feed-forward width, context


@dataclass(frozen=True)
class Setting:
    size: str
    batch: int
    micro_batch: int
    optimizer: str
    checkpointing: bool = False

    @property
    def name(self) -> str:
        parts = f"{self.batch}" if self.micro_batch == self.batch else f"{self.batch} by {self.micro_batch}"
        return f"{self.size}, batch {parts}, {self.optimizer}{', checkpointing' if self.checkpointing else ''}"

    def recipe(self) -> Recipe:
        width, inner, context = SIZES[self.size]
        config = {"hidden_size": width, "intermediate_size": inner, "max_position_embeddings": context}
        return load_recipe(
            "language",
            {
                "data.context": context,
                "train.inner.batch": self.batch,
                "train.inner.optimizer": self.optimizer,
                **{f"model.config.{key}": value for key, value in config.items()},
            },
        )


SETTINGS = (
    Setting("0.8 M", 4, 4, "adamw"),
    Setting("0.8 M", 16, 16, "muon"),
    Setting("0.8 M", 16, 4, "adamw"),
    Setting("3.2 M", 2, 2, "adamw"),
    Setting("3.2 M", 8, 2, "muon"),
    Setting("3.2 M", 4, 4, "adamw", checkpointing=True),
)


def test_predicted_step_times_are_near_those_measured():
    before = calibrate(1)
    measured = {setting.name: measure(setting) for setting in SETTINGS}
    machine = better(before, calibrate(1))
    rows = [figures(setting, predict(setting, machine), measured[setting.name]) for setting in SETTINGS]
    worst = max(abs(row["off"]) for row in rows)
    show(rows, machine)
    bars = {"step time, worst of six settings": {"value": worst, "bar": BAR, "ok": worst <= BAR}}
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine.model_dump(), "settings": rows, "bars": bars}
    OUTPUT.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def better(one: Calibration, other: Calibration) -> Calibration:
    """The figures of the calmer moment."""
    return Calibration(
        flops=max(one.flops, other.flops),
        peak_flops=max(one.peak_flops, other.peak_flops),
        bf16_flops=max(one.bf16_flops, other.bf16_flops),
        copy_bytes_s=max(one.copy_bytes_s, other.copy_bytes_s),
        operation_s=min(one.operation_s, other.operation_s),
    )


def predict(setting: Setting, machine: Calibration) -> float:
    """Seconds of a step without the trainer's own work."""
    recipe = setting.recipe()
    speed = worker_speed(SiteFacts(name="here", workers=1, memory_bytes=1 << 33, **machine.model_dump()), "fp32")
    assert speed is not None
    time_ = step_time(
        architecture(recipe),
        recipe,
        Layout(),
        setting.batch,
        setting.micro_batch,
        speed,
        precision="fp32",
        checkpointing=setting.checkpointing,
    )
    return time_.total - time_.loop


def measure(setting: Setting) -> float:
    """Seconds of a step by the trainer's own parts: forward and backward by micro-batches, clipping, the optimizer."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = setting.recipe()
    site = SitePlan(layout=Layout(), batch=setting.batch, micro_batch=setting.micro_batch)
    plan = Plan(
        rounds=(RoundPlan(steps=1, lr=1.0, momentum=0.0),),
        overlap_steps=0,
        bits=8,
        fragments=1,
        activation_checkpointing=setting.checkpointing,
        sites={"here": site},
    )
    world = World(0, 1, torch.device("cpu"))
    model = parallelise(build_model(recipe), plan, site, world, training_loss(recipe))
    optimizer = build_optimizer(recipe.train.inner, model)
    tokens = torch.randint(0, 258, (setting.batch, SIZES[setting.size][2] + 1))

    def step() -> None:
        model.train_step((tokens[:, :-1], tokens[:, 1:]))
        model.clip_gradients(1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    return min(times)


def figures(setting: Setting, predicted_s: float, measured_s: float) -> dict[str, Any]:
    return {
        "setting": setting.name,
        "parameters": parameter_count(setting.recipe()),
        "predicted_s": predicted_s,
        "measured_s": measured_s,
        "off": predicted_s / measured_s - 1,
    }


def show(rows: list[dict[str, Any]], machine: Calibration) -> None:
    table = Table(
        title=f"a step, predicted from {machine.flops / 1e9:g} GFLOP/s and {machine.copy_bytes_s / 1e9:g} GB/s"
    )
    for column in ("setting", "predicted ms", "measured ms", "off"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for row in rows:
        predicted, measured = row["predicted_s"] * 1e3, row["measured_s"] * 1e3
        table.add_row(row["setting"], f"{predicted:.1f}", f"{measured:.1f}", f"{row['off']:+.1%}")
    Console(width=110).print(table)
