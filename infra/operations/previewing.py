"""A preview asked of the engine, with the policy pack, and what of it a reviewer is shown."""

import os
import subprocess
from pathlib import Path

from infra.operations.cost_of_resources import estimate_resources, flavors_of
from infra.operations.previews import Preview, parse_events
from infra.operations.prices import load_prices
from infra.operations.pricing import Estimate, difference
from infra.operations.session import Session
from infra.settings import ROOT, Settings
from workloads.spec.errors import UserError

_STREAM = {"PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"}


def run_preview(session: Session, log: Path | None = None) -> Preview:
    """Preview a stack with its policy pack; the engine's whole stream is left in `log`.

    Raises:
        UserError: the engine ended before its summary, with the last that it said.
    """
    command = [
        *(str(session.engine.path), "preview", "--json", "--non-interactive", "--stack", session.stack),
        *("--config-file", str(session.files.config)),
        *session.policy(),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**session.environment, **_STREAM},
        check=False,
        capture_output=True,
        text=True,
    )
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"{done.stdout}{done.stderr}", encoding="utf-8")
    preview = parse_events(done.stdout.splitlines())
    if not preview.finished and not preview.errors:
        said = " ".join((done.stderr or done.stdout).split())[-400:]
        raise UserError(f"the engine could not preview stack {session.stack}: {said or os.strerror(done.returncode)}")
    return preview


def cost_difference(preview: Preview, settings: Settings) -> Estimate | None:
    """What a month's bill changes by; none for a stack without clouds."""
    if settings.cloud is None:
        return None
    prices, flavors = load_prices(), flavors_of(settings)
    before = [(step.type, step.old) for step in preview.steps if step.change != "create"]
    after = [(step.type, step.new or step.old) for step in preview.steps if step.change != "delete"]
    return difference(estimate_resources(before, prices, flavors), estimate_resources(after, prices, flavors))
