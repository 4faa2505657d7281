"""The policy pack, previews and shared states through the real engine. Nothing is made: every command is a preview."""

import json
import os
import subprocess
import textwrap
from types import SimpleNamespace

import pytest

from infra.operations import session as sessions
from infra.operations.previews import parse_events
from infra.settings import ROOT
from infra.toolchain.engine import ensure_engine
from tests.kit.stack import ENGINE, LocalStack

pytestmark = pytest.mark.engine

# Components may have any type and any inputs, so a program can declare clouds without their plugins.
PROGRAM = """
import pulumi

class Thing(pulumi.ComponentResource):
    def __init__(self, kind, name, props, **options):
        super().__init__(kind, name, props, pulumi.ResourceOptions(**options))
        self.register_outputs(props)

TAGS = {"project": "isthmus", "stack": "dev", "owner": "ml", "cost-center": "cc-1", "managed-by": "pulumi"}
good = pulumi.Config().require_bool("good")
Thing("aws:kms/key:Key", "artefacts", {"enableKeyRotation": True, "tags": TAGS}, protect=good)
Thing(
    "openstack:keymanager/secretV1:SecretV1",
    "psk",
    {"payload": pulumi.Output.secret("hidden-payload") if good else "plain-payload", "metadata": TAGS},
    protect=True,
)
Thing("aws:ec2/vpc:Vpc", "aws-1", {"cidrBlock": "10.0.0.0/16" if good else "100.64.0.0/16", "tags": TAGS})
pulumi.export("link", {"mtu": 1446 if good else 1500, "pod_mtu": 1396})
"""
CHOSEN = {
    "protected": {"protect": True},
    "required-tags": {"values": {"owner": "ml"}},
    "budget": {"monthly_usd": 0.5},  # a key is a dollar a month
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*next(iter(ENGINE.items())))
        yield ensure_engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def program(engine, tmp_path):
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: isthmus\nruntime: python\n")
    (folder / "__main__.py").write_text(textwrap.dedent(PROGRAM))
    chosen = tmp_path / "policy.json"
    chosen.write_text(json.dumps(CHOSEN))
    backend = tmp_path / "backend"
    backend.mkdir()
    environment = {
        **engine.env,
        "PULUMI_BACKEND_URL": backend.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true",
    }

    def run(*arguments):
        return subprocess.run(
            [str(engine.path), *arguments, "--non-interactive"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("stack", "init", "dev").returncode == 0
    pack = ("--policy-pack", str(ROOT / "infra/policy"), "--policy-pack-config", str(chosen))
    return SimpleNamespace(
        preview=lambda good: run("preview", "--json", "--stack", "dev", "--config", f"good={str(good).lower()}", *pack)
    )


def test_the_engine_refuses_what_the_rules_refuse_and_keeps_secrets_to_itself(program):
    done = program.preview(good=False)
    assert done.returncode != 0
    preview = parse_events(done.stdout.splitlines())
    assert not preview.succeeded
    found = {finding.rule: finding for finding in preview.findings}
    assert set(found) == {"protected", "secret-inputs", "cidrs", "mtu", "budget"}
    assert found["protected"].urn.endswith("::artefacts")
    assert "payload is plain text in the state" in found["secret-inputs"].message
    assert "100.64.0.0/16 is outside RFC 1918" in found["cidrs"].message
    assert found["cidrs"].urn.endswith("::aws-1")
    assert "link mtu is 1500, limit 1446" in found["mtu"].message
    assert {finding.level for finding in preview.findings} == {"mandatory"}


def test_the_same_program_set_right_breaks_no_rule_but_the_budget_and_shows_no_secret(program):
    done = program.preview(good=True)
    preview = parse_events(done.stdout.splitlines())
    assert [finding.rule for finding in preview.findings] == ["budget"]
    assert "limit 0" in preview.findings[0].message
    assert "hidden-payload" not in done.stdout + done.stderr


def test_a_review_of_the_local_stack_runs_the_pack_and_is_markdown(tmp_path):
    stack = LocalStack(tmp_path)
    log = tmp_path / "log.jsonl"
    done = stack.run("review", "--markdown", "--log", str(log))
    assert done.status == 0, done.text
    assert done.text.startswith("<!-- isthmus preview local -->\n### Preview of `local`\n")
    assert "20 to create" in done.text
    assert "#### Policy" not in done.text
    assert parse_events(log.read_text().splitlines()).finished
    assert stack.processes() == []


def test_a_stack_whose_plugins_are_absent_is_one_line(tmp_path):
    stack = LocalStack(tmp_path)
    unreachable = {
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_PLUGIN_DOWNLOAD_URL_OVERRIDES": ".*=http://127.0.0.1:1",
        "ISTHMUS_PULUMI_HOME": str(_home_without_plugins(tmp_path)),
    }
    done = stack.run("review", "--stack", "dev", with_settings=False, environment=unreachable)
    assert done.status == 2, done.text
    (line,) = done.text.strip().splitlines()
    assert line.startswith("error: plugin aws v")


def _home_without_plugins(folder):
    home = folder / "home"
    home.mkdir()
    (home / "bin").symlink_to(os.path.join(ENGINE["ISTHMUS_PULUMI_HOME"], "bin"))  # noqa: PTH118
    return home


def test_a_second_checkout_opens_the_secrets_of_a_shared_stack(engine, tmp_path, monkeypatch):
    backend = tmp_path / "shared"
    backend.mkdir()
    monkeypatch.setenv("PULUMI_BACKEND_URL", backend.as_uri())
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "x")
    monkeypatch.setattr(sessions, "ensure_plugins", lambda *_: None)
    salts = []
    for checkout in ("mine", "yours"):
        opened = sessions.open_session("dev", [], tmp_path / checkout, check=False)
        assert opened.shared
        assert opened.exists()
        salts.append(opened.files.salt.read_text())
    assert salts[0] == salts[1]
