"""The product's first promise, with the real engine: up, nothing to do, heal, another recipe, interruption, nothing left.

The tests of this module are one story and run in its order.
"""

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from infra.local.supervision import find
from tests.kit.stack import LocalStack, eventually
from workloads.spec.artifact import RESULT, RunResult

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    made = LocalStack(tmp_path_factory.mktemp("stack"))
    yield made
    made.run("down", with_settings=False)
    for process in made.processes():  # only what a failed test left behind
        process.kill()


def infer(endpoint: str) -> tuple[str, str]:
    """`(site that answered, species)` for the first flower of Fisher's table."""
    tensor = {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}
    request = urllib.request.Request(
        f"{endpoint}/v2/models/iris/infer",
        data=json.dumps({"inputs": [tensor]}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        outputs = {output["name"]: output for output in json.load(answer)["outputs"]}
        return answer.headers["x-served-by"], outputs["label"]["data"][0]


def test_up_makes_the_platform_and_it_answers_from_both_sides(stack):
    done = stack.up()
    assert done.status == 0, done.text
    outputs = stack.outputs()
    assert {site: infer(endpoint) for site, endpoint in outputs["endpoints"].items()} == {
        "aws-1": ("aws-1", "setosa"),
        "os-1": ("os-1", "setosa"),
    }
    assert outputs["compression"]["after"] >= 0.93
    assert outputs["link"]["bytes"] < outputs["link"]["bytes_of_ddp"]
    assert Path(outputs["report"]).read_text().startswith("<!doctype html>")


def test_the_printed_curl_line_works(stack):
    printed = stack.run("outputs", with_settings=False).text
    (line,) = [line for line in printed.splitlines() if line.startswith("curl ")]
    answer = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)  # it is meant for a shell
    assert json.loads(answer.stdout)["outputs"]


def test_the_console_shows_epochs_and_batches(stack):
    (log,) = (stack.local / "jobs").glob("training-*/aws-1/log")
    text = log.read_text()
    for words in ("Epoch 1/", "Batch 1/", "- loss: ", " - acc: ", "- time: "):
        assert words in text


def test_secrets_are_in_no_state_in_plain_text(stack):
    key = (stack.local / "pki/aws-1/key.pem").read_text().splitlines()[1]
    for path in (stack.state / "backend").rglob("*"):
        assert not path.is_file() or key not in path.read_text(errors="replace")


def test_a_second_up_changes_nothing(stack):
    done = stack.up()
    assert done.status == 0, done.text
    assert done.counts.keys() == {"unchanged"}, done.text


def test_a_preview_is_of_no_consequence(stack):
    before = sorted(process.pid for process in stack.processes())
    done = stack.run("preview")
    assert done.status == 0, done.text
    assert sorted(process.pid for process in stack.processes()) == before


def test_a_mistake_that_only_a_job_can_find_is_one_line_and_leaves_what_ran_running(stack):
    done = stack.up("--set", "training.overrides.data.subsets=1")
    assert done.status != 0
    assert any("data.subsets 1 leave a site of 2 without" in line for line in done.errors)
    assert "Traceback" not in done.text
    assert [infer(endpoint)[0] for endpoint in stack.outputs()["endpoints"].values()] == ["aws-1", "os-1"]


def test_the_link_can_be_cut_and_comes_back_and_each_side_serves_its_own(stack):
    done = stack.run("outage", "--seconds", "3", with_settings=False)
    assert done.status == 0, done.text
    outputs = stack.outputs()
    status = outputs["link"]["outage_switch"].replace("/outage", "/status")

    def cut() -> bool:
        with urllib.request.urlopen(status, timeout=10) as answer:
            return bool(json.load(answer)["outage"])

    assert cut()
    assert [infer(endpoint)[0] for endpoint in outputs["endpoints"].values()] == ["aws-1", "os-1"]
    assert eventually(lambda: not cut())


def test_a_dead_replica_is_covered_by_the_other_site_and_healed_by_the_next_up(stack):
    endpoint = stack.outputs()["endpoints"]["aws-1"]
    find(stack.local / "services/aws-1-replica").kill()
    find(stack.local / "services/link").kill()
    assert stack.run("refresh", with_settings=False).counts.get("updated") == 2
    done = stack.up()
    assert done.status == 0, done.text
    assert done.counts.get("updated") == 2, done.text
    assert "replaced" not in done.counts
    assert eventually(lambda: served_by(endpoint) == "aws-1")
    find(stack.local / "services/aws-1-replica").kill()
    assert eventually(lambda: served_by(endpoint) == "os-1")
    assert stack.up().counts.get("updated") == 1


def served_by(endpoint: str) -> str | None:
    try:
        return infer(endpoint)[0]
    except urllib.error.HTTPError:
        return None


def test_a_tampered_model_is_not_served_and_is_made_again(stack):
    replica = stack.local / "services/os-1-replica"
    spec = json.loads((replica / "spec.json").read_text())
    model = Path(spec["spec"]["model"] if "spec" in spec else spec["model"]) / "model.onnx"
    model.write_bytes(model.read_bytes() + b"x")
    done = stack.up()
    assert done.status == 0, done.text
    assert eventually(lambda: served_by(stack.outputs()["endpoints"]["os-1"]) == "os-1")


def test_another_recipe_replaces_the_run_and_leaves_sites_and_link_alone(stack):
    pids = {name: find(stack.local / "services" / name).pid for name in ("link", "registry")}
    first = stack.outputs()["run"]["id"]
    stack.settings = ["training.overrides.train.epochs=11"]
    done = stack.up()
    assert done.status == 0, done.text
    assert stack.outputs()["run"]["id"] != first
    assert {name: find(stack.local / "services" / name).pid for name in pids} == pids
    assert infer(stack.outputs()["endpoints"]["os-1"]) == ("os-1", "setosa")


@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_an_engine_that_ends_in_mid_training_leaves_no_orphan_and_the_next_up_resumes(stack, how):
    rounds = {"interrupt": 300, "kill": 200}[how]
    stack.settings = [f"training.overrides.train.epochs={rounds // 5}", "training.overrides.train.inner.lr=0.005"]
    before = {process.pid for process in stack.processes()}
    process = stack.start("up")
    with process:
        for line in process.stdout:
            if "Epoch 4/" in line:
                break
        engine = next(child for child in psutil.Process(process.pid).children() if "pulumi" in child.name())
        if how == "interrupt":
            os.killpg(process.pid, signal.SIGINT)
        else:
            engine.kill()
        process.communicate(timeout=120)
    assert process.returncode != 0
    services = {find(folder).pid for folder in (stack.local / "services").iterdir() if find(folder)}
    assert eventually(lambda: {p.pid for p in stack.processes()} - before - services == set(), 30)
    done = stack.up()
    assert done.status == 0, done.text
    result = RunResult.load(Path(stack.outputs()["report"]).parent / RESULT)
    assert result.rounds == rounds
    assert result.resumed_at_round > 0


def test_down_leaves_no_process_and_no_port(stack):
    done = stack.run("down", with_settings=False)
    assert done.status == 0, done.text
    assert stack.processes() == []
    assert stack.listeners() == []
    assert not (stack.local / "sites").exists() or not list((stack.local / "sites").iterdir())
