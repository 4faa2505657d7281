"""Every mistake that can be known before anything starts gets one line, a non-zero status, and changes nothing."""

import os
import shutil
import socket
import stat
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from infra.local.ports import PortPlan
from infra.operations import preflight
from infra.operations.cli import app
from infra.settings import Settings
from infra.toolchain.engine import CHOICE
from tests.kit.program import stack_config
from tests.kit.stack import LocalStack
from workloads.spec.errors import UserError


@pytest.fixture
def stack(tmp_path):
    return LocalStack(tmp_path)


def refusal(stack: LocalStack, *arguments: str, environment: dict[str, str] | None = None) -> str:
    done = stack.run(*arguments, environment=environment)
    assert done.status == 2, done.text
    (line,) = done.text.strip().splitlines()
    assert line.startswith("error: ")
    assert not stack.processes()
    return line


def test_an_unknown_recipe(stack):
    assert "recipe 'irsi' is unknown; choose one of iris, language" in refusal(stack, "up", "--recipe", "irsi")


def test_an_unknown_key_of_the_stack_and_of_the_recipe(stack):
    assert "colour" in refusal(stack, "up", "--set", "colour=blue")
    assert "epocs" in refusal(stack, "up", "--set", "training.overrides.train.epocs=3")


def test_a_rate_of_zero(stack):
    assert "0.1 Mbit/s to 100 Gbit/s" in refusal(stack, "up", "--set", "links.0.rate=0 Mbit/s")


def test_an_unknown_stack_lists_the_known_ones(stack):
    assert "stacks: dev, dr, lab, local, prod, staging" in refusal(stack, "up", "--stack", "lcoal")


def test_a_port_in_use_is_named_with_what_it_is_for(stack):
    port = PortPlan(stack.base_port, 2).registry.port
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        line = refusal(stack, "up")
    assert f"port {port}, for the registry, is in use" in line
    assert "isthmus:local.base_port" in line


def test_an_engine_that_is_too_old(stack, tmp_path):
    old = tmp_path / "bin" / "pulumi"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho v3.100.0\n")
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    environment = {"PATH": f"{old.parent}:{os.environ['PATH']}", CHOICE: ""}
    line = refusal(stack, "up", environment=environment)
    assert "3.100.0" in line
    assert "ENGINE=own" in line


def test_a_lost_passphrase_of_a_stack_with_secrets(stack):
    (stack.state / "backend/.pulumi/stacks/isthmus").mkdir(parents=True)
    (stack.state / "backend/.pulumi/stacks/isthmus/local.json").write_text("{}")
    line = refusal(stack, "up")
    assert "the passphrase is missing" in line
    assert "PULUMI_CONFIG_PASSPHRASE" in line


def test_a_plan_of_a_stack_that_was_never_up_and_of_facts_that_do_not_fit(stack, tmp_path):
    assert "stack local is not up, so its sites and link were never measured" in refusal(stack, "plan")
    facts = tmp_path / "facts.yaml"
    assert "no such file" in refusal(stack, "plan", "--facts", str(facts))
    facts.write_text("sites: [{name: a-1, workers: 1}]\nlink: {rate_mbps: 100}\n")
    line = refusal(stack, "plan", "--facts", str(facts))
    assert "sites.0.memory_bytes: Field required" in line
    assert "link.rtt_ms" in line


def test_a_model_that_fits_nowhere_is_refused_by_plan(stack, tmp_path):
    facts = tmp_path / "facts.yaml"
    facts.write_text("sites: [{name: a-1, workers: 1, memory_bytes: 100000000}]\nlink: {rate_mbps: 100, rtt_ms: 1}\n")
    assert "site a-1: recipe iris needs 0.5 GiB a worker, has 0.1 GiB" in refusal(stack, "plan", "--facts", str(facts))


def test_a_plan_is_shown_with_its_reasons_and_nothing_is_made(stack, tmp_path):
    facts = tmp_path / "facts.yaml"
    sites = [
        f"{{name: {name}, workers: 8, memory_bytes: 200000000000, accelerator: {{kind: {kind}, memory_bytes: 80000000000}}}}"
        for name, kind in (("aws-1", "h100-sxm"), ("os-1", "a100-sxm"))
    ]
    facts.write_text(f"sites: [{', '.join(sites)}]\nlink: {{rate_mbps: 1000, rtt_ms: 80}}\n")
    done = stack.run(
        "plan", "--recipe", "language", "--facts", str(facts), "--set", "training.overrides.train.inner.batch=8"
    )
    assert done.status == 0, done.text
    for words in ("aws-1  dp 8", "os-1   dp 8", "steps a round (H)", "the whole model fits each worker", "link use"):
        assert words in done.text
    assert not stack.state.exists()


def settings() -> Settings:
    return Settings.parse(
        {key.removeprefix("isthmus:"): v for key, v in stack_config("local").items() if "isthmus" in key}, "x"
    )


def test_a_local_stack_draws_a_passphrase_that_only_its_owner_can_read(tmp_path):
    first = preflight.passphrase(settings(), "local", tmp_path, {})
    assert first == preflight.passphrase(settings(), "local", tmp_path, {})
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text()) >= 32


def test_a_given_passphrase_is_used(tmp_path):
    given = {preflight.PASSPHRASE: "mine"}
    assert preflight.passphrase(settings(), "local", tmp_path, given) == given
    assert not list(tmp_path.iterdir())


def test_a_stack_in_a_cloud_gets_no_drawn_passphrase(tmp_path):
    cloud = settings().model_copy(update={"sites": (settings().sites[0].model_copy(update={"kind": "aws"}),)})
    with pytest.raises(UserError, match="the passphrase is missing: stack dev is not local"):
        preflight.passphrase(cloud, "dev", tmp_path, {})


def test_a_full_disk_is_told_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1, used=1, free=7 << 20))
    with pytest.raises(UserError, match="the platform needs 1040.0 MiB, 7.0 MiB are free; make room"):
        preflight.check(settings(), tmp_path)


def test_help_lists_the_commands():
    text = CliRunner().invoke(app, ["--help"]).output
    assert all(f" {word} " in text for word in ("up", "preview", "plan", "refresh", "down", "diagram", "outage"))
