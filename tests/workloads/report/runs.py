"""Finished runs on disk, told with the classes of the seam, whose every figure a test can foresee."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from workloads.spec.artifact import (
    MANIFEST,
    RESULT,
    SIGNATURE,
    ArtifactManifest,
    Candidate,
    CompressResult,
    RegisterResult,
    RunResult,
)
from workloads.spec.base import Endpoint
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent
from workloads.spec.launch import LaunchSpec, LinkFacts, ReportLaunch, SiteLaunch
from workloads.spec.plan import Layout, Plan, Prediction, RoundPlan, SitePlan
from workloads.spec.recipe import Recipe, load_recipe

STARTED = 1_700_000_000.0
URL = "http://127.0.0.1:5000/#/models/iris/versions/3"
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><style>.panel { fill: red }</style></svg>'
SHA = SimpleNamespace(recipe="1" * 64, data="2" * 64, file="3" * 64, outer="4" * 64)

_PARAMETERS = 83
_PAYLOAD = 5_000  # bytes that a site sends in the whole run
_STEP_S, _ROUND_S = 0.01, 0.5


def write_run(
    folder: Path,
    recipe: Recipe | None = None,
    rounds: Sequence[int] = (4,) * 6,
    sites: Sequence[str] = ("aws-1", "os-1"),
    notes: Sequence[str] = (),
    resumed_at_round: int = 0,
) -> ReportLaunch:
    """All that the report of a finished run reads, below `folder`. `rounds` are steps a round; the first site wrote `notes`."""
    recipe = recipe or small_recipe()
    launch = _launch(folder, recipe, rounds, sites)
    for site in launch.sites:
        _write_events(site, launch, notes if site == launch.sites[0] else ())
    trained = _write_artefact(launch, folder / "run" / "trained", "trained", ())
    _run_result(launch, trained, resumed_at_round).save(folder / "run" / RESULT)
    compressed = _write_artefact(launch, folder / "compressed" / "model", "compressed", (trained.digest(),))
    (folder / "compressed" / "model" / SIGNATURE).write_bytes(b"signature")
    _compress_result(recipe, compressed).save(folder / "compressed" / RESULT)
    RegisterResult(
        name="iris",
        version="3",
        alias="champion",
        run_id="registry-run",
        url=URL,
        model_digest=compressed.digest(),
        wall_s=6.0,
    ).save(folder / "registered" / RESULT)
    return ReportLaunch(
        launch=launch,
        compressed=folder / "compressed",
        registered=folder / "registered" / RESULT,
        picture_svg=PICTURE,
        output=folder / "run" / "report.html",
    )


def small_recipe(**changes: str | float) -> Recipe:
    """The recipe of six rounds of four steps."""
    overrides = {"train.epochs": 2, "train.rounds_per_epoch": 3, "train.inner.steps": 4, **changes}
    return load_recipe("iris", dict(overrides))


def small_plan(sites: Sequence[str], rounds: Sequence[int]) -> Plan:
    """Each site steps for 10 ms, which the plan took for 8 ms; the whole run was to last 2.4 s."""
    site = SitePlan(layout=Layout(), batch=12, micro_batch=6, step_s=0.008, memory_bytes=500_000_000)
    return Plan(
        rounds=tuple(RoundPlan(steps=steps, lr=1.0, momentum=0.0) for steps in rounds),
        overlap_steps=0,
        bits=8,
        fragments=1,
        sites=dict.fromkeys(sites, site),
        prediction=Prediction(step_s=0.1, round_bytes=1_000, link_use=0.002, total_s=2.4),
        reasons={"bits": "the link is idle < half of the time"},
    )


def _launch(folder: Path, recipe: Recipe, rounds: Sequence[int], sites: Sequence[str]) -> LaunchSpec:
    endpoint = Endpoint(port=5001)
    return LaunchSpec(
        run_id="iris-0123456789",
        recipe=recipe,
        plan=small_plan(sites, rounds),
        sites=tuple(
            SiteLaunch(
                name=site,
                workers=1,
                rendezvous=endpoint,
                listen=(endpoint,),
                peers=dict.fromkeys(set(sites) - {site}, (endpoint,)),
                credentials=None,
                data=folder / site / "data",
                data_digest=SHA.data,
                work=folder / site / "work",
            )
            for site in sites
        ),
        link=LinkFacts(rate_mbps=10.0, rtt_ms=40.0),
        round_deadline_s=5.0,
        output=folder / "run",
    )


def _write_events(site: SiteLaunch, launch: LaunchSpec, notes: Sequence[str]) -> None:
    rounds, metric = launch.plan.rounds, launch.recipe.compress.gate.metric
    lines, done = [], 0
    for number, part in enumerate(rounds, start=1):
        began = STARTED + (number - 1) * _ROUND_S
        for step in range(done + 1, done + part.steps + 1):
            loss = 0.1 + math.exp(-step / 50) * (1.2 + 0.2 * math.sin(step * (1 + len(site.name))))
            event = StepEvent(
                t=began + 0.001 * step,
                site=site.name,
                step=step,
                loss=loss,
                samples=launch.plan.sites[site.name].batch,
                seconds=_STEP_S,
                samples_per_s=launch.plan.sites[site.name].batch / _STEP_S,
                lr=0.05,
                grad_norm=1.5,
            )
            lines.append(event.model_dump_json())
        told = RoundEvent(
            t=began + _ROUND_S,
            site=site.name,
            round=number,
            rounds=len(rounds),
            epoch=1,
            loss=0.5,
            metrics={metric: 1 - 0.6 / number},
            bytes_sent=_PAYLOAD // len(rounds),
            bytes_received=_PAYLOAD // len(rounds),
            wait_s=_ROUND_S * (number % 3) / 4,
            seconds=_ROUND_S,
            refused=1 if number == 2 else 0,
        )
        lines.append(told.model_dump_json())
        done += part.steps
    lines += [NoteEvent(t=STARTED + 2, site=site.name, text=text).model_dump_json() for text in notes]
    site.work.mkdir(parents=True)
    (site.work / "events.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_artefact(launch: LaunchSpec, folder: Path, kind: str, parents: tuple[str, ...]) -> ArtifactManifest:
    manifest = ArtifactManifest(
        kind=kind,
        run_id=launch.run_id,
        recipe=launch.recipe.name,
        recipe_digest=SHA.recipe,
        data_digests={site.name: site.data_digest for site in launch.sites},
        code_version="0.1.0+abc",
        parents=parents,
        metrics={launch.recipe.compress.gate.metric: 0.95, "loss": 0.2} if kind == "compressed" else {},
        parameters=_PARAMETERS if kind == "trained" else 59,
        files={"model": SHA.file},
    )
    manifest.save(folder / MANIFEST)
    return manifest


def _run_result(launch: LaunchSpec, trained: ArtifactManifest, resumed_at_round: int) -> RunResult:
    plan, names = launch.plan, [site.name for site in launch.sites]
    return RunResult(
        run_id=launch.run_id,
        rounds=len(plan.rounds),
        steps=plan.steps,
        samples=plan.steps * 12 * len(names),
        parameters=_PARAMETERS,
        wall_s=3.0,
        resumed_at_round=resumed_at_round,
        bytes_sent=dict.fromkeys(names, _PAYLOAD),
        wire_bytes_sent=dict.fromkeys(names, 3 * _PAYLOAD),
        bytes_ddp=625_000,
        wait_s={name: 0.75 * (index + 1) for index, name in enumerate(names)},
        refused_frames={"digest": 2} if resumed_at_round else {},
        outer_state_digest=SHA.outer,
        peak_memory_bytes=dict.fromkeys(names, 700_000_000),
        metrics={launch.recipe.compress.gate.metric: 0.975, "majority_accuracy": 1 / 3, "loss": 0.1},
        manifest_digest=trained.digest(),
    )


def _compress_result(recipe: Recipe, compressed: ArtifactManifest) -> CompressResult:
    return CompressResult(
        metric=recipe.compress.gate.metric,
        before=0.975,
        after=0.95,
        bytes_before=620,
        bytes_after=415,
        prune_ratio=0.2,
        candidates=(
            Candidate(prune_ratio=0.3, parameters=51, metric=0.812, bytes=395, passed=False),
            Candidate(prune_ratio=0.2, parameters=59, metric=0.95, bytes=415, passed=True),
        ),
        wall_s=8.5,
        manifest_digest=compressed.digest(),
    )
