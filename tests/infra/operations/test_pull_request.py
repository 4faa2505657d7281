"""A pull request is previewed where it matters, without long-lived keys, and gets one comment."""

import re

import pytest
import yaml
from typer.testing import CliRunner

from infra.operations.pull_request import MARK, app, combined, previewable, stacks_touched
from infra.operations.review import LIMIT, marker
from infra.settings import ROOT

STACKS = ["dev", "dr", "prod", "staging"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/preview.yml").read_text(encoding="utf-8"))
JOBS = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


@pytest.mark.parametrize(
    ("paths", "touched"),
    [
        (["stacks/Pulumi.dr.yaml"], ["dr"]),
        (["stacks/Pulumi.dr.yaml", "stacks/Pulumi.dev.yaml"], ["dev", "dr"]),
        (["stacks/Pulumi.local.yaml", "stacks/Pulumi.lab.yaml"], []),
        (["infra/network/vpn.py"], STACKS),
        (["infra/policy/storage.py"], STACKS),
        (["workloads/spec/launch.py", "README.md"], STACKS),
        (["workloads/recipes/language.yaml"], STACKS),
        (["Pulumi.yaml"], STACKS),
        (["infra/local/relay/server.py", "infra/operations/cli.py"], []),
        (["workloads/trainer/loop.py", "tests/infra/test_settings.py", "docs/PROOF.md"], []),
        ([""], []),
    ],
)
def test_a_change_touches_the_stacks_that_are_made_from_it(paths, touched):
    assert stacks_touched(paths, STACKS) == touched


def test_stacks_of_real_clouds_are_previewed_and_those_of_this_machine_are_not():
    assert previewable(sorted((ROOT / "stacks").glob("Pulumi.*.yaml"))) == STACKS


def test_the_command_reads_paths_and_prints_a_matrix(tmp_path):
    file = tmp_path / "changed"
    file.write_text("docs/x.md\nstacks/Pulumi.prod.yaml\n")
    assert CliRunner().invoke(app, ["stacks", str(file)]).stdout == '["prod"]\n'


def test_one_comment_holds_every_review_in_an_equal_share(tmp_path):
    for name in ("prod", "dev"):
        folder = tmp_path / f"review-{name}"
        folder.mkdir()
        (folder / f"{name}.md").write_text(f"{marker(name)}\n### {name}\n" + "- a line of it\n" * 9000)
    text = CliRunner().invoke(app, ["comment", str(tmp_path), "--log", "https://example.org/log"]).stdout
    assert text.startswith(f"{MARK}\n")
    assert text.index("### dev") < text.index("### prod")
    assert len(text.encode()) <= LIMIT
    assert text.count("more lines.") == 2
    assert text.rstrip().endswith("(https://example.org/log)")


def test_a_change_that_touches_no_stack_says_so():
    assert "touches no stack" in combined({}, "https://example.org")


def test_the_workflow_runs_on_pull_requests_alone_and_gives_no_credentials_to_forks():
    assert set(WORKFLOW[True]) == {"pull_request"}  # YAML 1.1 reads the key `on` as true
    assert JOBS["touched"]["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
    assert all("touched" in job.get("needs", []) for name, job in JOBS.items() if name != "touched")


def test_each_job_may_do_what_it_needs_and_no_more():
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "touched": {"contents": "read", "pull-requests": "read"},
        "preview": {"contents": "read", "id-token": "write"},
        "comment": {"contents": "read", "pull-requests": "write"},
    }
    assert all(
        step["with"]["persist-credentials"] is False
        for step in STEPS
        if step.get("uses", "").startswith("actions/checkout")
    )


def test_aws_is_reached_by_oidc_from_the_stacks_own_environment():
    job = JOBS["preview"]
    assert job["environment"] == "${{ matrix.stack }}"
    assert job["strategy"]["matrix"]["stack"] == "${{ fromJSON(needs.touched.outputs.stacks) }}"
    (login,) = [step for step in job["steps"] if "aws-actions/configure-aws-credentials" in step.get("uses", "")]
    assert login["with"]["role-to-assume"] == "${{ vars.AWS_PREVIEW_ROLE }}"
    text = (ROOT / ".github/workflows/preview.yml").read_text(encoding="utf-8")
    assert not re.search(r"aws-(secret-)?access-key|AWS_(SECRET_)?ACCESS_KEY", text, re.IGNORECASE)


def test_every_action_is_pinned_and_no_text_of_others_is_put_into_a_script():
    for step in STEPS:
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"])
        assert "${{" not in step.get("run", "")


def test_the_preview_runs_the_pack_and_keeps_the_whole_log():
    (review,) = [step for step in JOBS["preview"]["steps"] if step.get("id") == "review"]
    assert 'infra.operations review --stack "$STACK" --markdown --log "logs/$STACK.jsonl"' in review["run"]
    kept = [step["with"]["path"] for step in JOBS["preview"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert kept == ["reviews", "logs"]
    posted = JOBS["comment"]["steps"][-1]["run"]
    assert "--method PATCH" in posted
    assert "--method POST" in posted
