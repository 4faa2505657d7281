"""The whole program applied: the real engine, two clouds' control planes, a real cluster over an emulated link.

The lab has to stand (`make lab-up`); `make lab` sees to that. The tests of this module are one story and run in its order.
"""

import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict

import pytest

from infra.mesh import ports
from infra.mesh.fencing import TRAINING
from tests.lab import place, report, whole
from tests.lab.drills import (
    fences,
    leftovers,
    models,
    node_loss,
    outage,
    probes,
    pull_request,
    queueing,
    recipes,
    recreation,
    serving,
    speed,
)
from tests.lab.drills.training import Run, flavors_of
from tests.lab.drills.watch import watched
from tests.lab.meter import Meter, folder_mb
from tests.lab.story import Story
from workloads.registry.signing import verify_signature

pytestmark = pytest.mark.lab

NODES = {"aws-1": "aws-gpu-0", "os-1": "os-gpu-0"}
CUT_S = 60
RECREATIONS = 3
_RUN_S = 1500
_BEING_WRITTEN = 2  # rounds that go by until a checkpoint is durable


@pytest.fixture(scope="module")
def story():
    if not whole.is_up():
        pytest.fail("no lab stands; run `make lab-up`, or `make lab` for both", pytrace=False)
    with Meter() as meter:
        begun = Story.begin()
        yield begun
        begun.record.figure("memory_mb", round(meter.peak_mb))
        begun.record.figure("memory_of_the_machine_before_mb", round(meter.before_mb))
    begun.record.figure("disk_mb", round(folder_mb(place.LAB)))
    report.write(begun.record.values, place.REPORT)
    begun.log.close()


@pytest.fixture(autouse=True)
def _drawn(story):
    """After each drill the report says what is known by then."""
    yield
    report.write(story.record.values, place.REPORT)


def test_up_makes_the_whole_program_and_leaves_nothing_pending(story):
    done = story.stack.up()
    story.record.figure("up_s", round(done.seconds, 1))
    story.record.put(up_components={name: span.seconds for name, span in done.spans.items()})
    assert story.stack.pending() == []
    made = Counter(r["type"].partition(":")[0] for r in story.stack.resources() if r.get("custom"))
    story.record.put(resources=dict(made))
    assert made["aws"] > 100
    assert made["openstack"] > 25
    assert made["kubernetes"] > 100


def test_the_queue_admits_the_run_against_the_quota_of_both_sites(story):
    run = story.run()
    story.view.until("the run is admitted", run.is_admitted, 120)
    assert {site: flavor.partition("-l4")[0] for site, flavor in flavors_of(run.workload()).items()} == {
        site: site for site in story.sites
    }
    assert [job["replicas"] for job in run.jobset()["spec"]["replicatedJobs"]] == [1, 1]


def test_a_second_preview_shows_no_change(story):
    assert story.stack.preview().steps() == []


def test_a_refresh_agrees(story):
    story.record.figure("refresh_s", round(story.stack.refresh().seconds, 1))


def test_iris_is_trained_across_the_link_and_lies_in_both_stores(story):
    run = story.run()
    run.await_end(_RUN_S)
    models.await_closing(story.view, run, _RUN_S)
    result = story.stores()[story.sites[0]].result(run.launch.run_id)
    assert set(result.bytes_sent) == set(story.sites)
    assert result.metrics["accuracy"] >= 0.9
    told = {site: store.delivered("iris", story.alias) for site, store in story.stores().items()}
    assert told["aws-1"] == told["os-1"]
    story.record.put(iris={"rounds": result.rounds, "wall_s": result.wall_s, "wait_s": result.wait_s, **result.metrics})


def test_the_model_in_swift_is_the_one_that_was_signed(story, tmp_path):
    store = story.stores()["os-1"]
    model = store.delivered("iris", story.alias)
    key = tmp_path / "public.pem"
    key.write_text(story.stack.outputs()["recovery"]["trusted_key"])
    verify_signature(store.fetch(model, tmp_path / "model"), key)


def test_the_registry_knows_the_version_by_its_alias(story):
    assert models.registered(story.view, "iris", story.alias)["run_id"]


def test_requests_from_each_side_are_answered_on_that_side_by_its_own_node(story):
    for site in story.sites:
        pod = serving.await_replica(story.view, site)
        assert pod["spec"]["nodeName"] == NODES[site]
    client = story.find_doors()
    for site in story.sites:
        story.view.until(
            f"{site} is answered by its own replica",
            lambda site=site: set(client.served_by(site, "/v2/models/iris")) == {site},
            120,
        )
        answer = client.ask(site, "/v2/models/iris/infer", serving.FLOWER)
        assert (answer.status, answer.served_by, answer.label) == (200, site, "setosa")


@pytest.mark.parametrize("site", ["os-1", "aws-1"])
def test_with_the_replica_of_a_side_gone_the_other_answers_for_it(story, site):
    (other,) = {*story.sites} - {site}
    client = story.asking()
    serving.scale(story.view, site, 0)
    story.view.until(
        f"{site} is answered from {other}", lambda: set(client.served_by(site, "/v2/models/iris")) == {other}, 120
    )
    serving.scale(story.view, site, 1)
    story.view.until(
        f"{site} is answered at home again", lambda: set(client.served_by(site, "/v2/models/iris")) == {site}, 120
    )


def test_with_the_link_cut_each_side_serves_its_own(story):
    seen = serving.through_a_cut(story.view, story.asking(), "/v2/models/iris", 30)
    story.record.put(served_in_a_cut={site: dict(Counter(answers)) for site, answers in seen.items()})
    for site, answers in seen.items():
        assert answers
        assert set(answers) == {site}


def test_the_mesh_refuses_who_is_outside_it(story):
    address = serving.await_replica(story.view, "aws-1")["status"]["podIP"]
    assert fences.knock(story.view, "aws-1", probes.NAMESPACE, address, ports.INFERENCE, "http") == "dropped"
    fences.bare_in_ingress(story.view, "aws-1")
    where = (fences.INGRESS_NAMESPACE, address, ports.INFERENCE)
    assert fences.knock(story.view, fences.BARE, *where, "http") == "refused", "plain text"
    assert fences.knock(story.view, fences.BARE, *where, "tls") == "tls-refused", "no certificate"


def test_a_run_waits_while_its_quota_is_taken(story):
    queueing.take(story.view, "os-1")
    story.stack.configure(*recipes.language(recipes.LONG_STEPS))
    story.stack.up()
    run = story.run()
    story.view.until("the queue has no room for the run", lambda: queueing.is_waiting(run.workload()), 120)
    assert run.jobset()["spec"]["suspend"]
    assert [run.pods(site) for site in story.sites] == [[], []]
    queueing.give_back(story.view)
    story.view.until("the run is admitted", run.is_admitted, 120)


def test_a_trainer_s_port_is_reached_by_its_peer_alone(story):
    run = story.run()
    run.await_round(2, 600)
    fences.stray_in_training(story.view, "aws-1")
    address = run.pod("aws-1")["status"]["podIP"]
    port = ports.EXCHANGE[0]
    knock = fences.knock
    assert knock(story.view, fences.STRAY, TRAINING, address, port, "tls") == "dropped", "beside it, no trainer"
    assert knock(story.view, "aws-1", probes.NAMESPACE, address, port, "tls") == "dropped", "at its site"
    assert knock(story.view, "os-1", probes.NAMESPACE, address, port, "tls") == "tls-refused", "at its peer's site"
    fences.take_away(story.view)


def test_a_cut_of_a_minute_starts_nothing_again_and_the_rounds_go_on(story):
    run = story.run()
    seen = outage.cut_during(story.view, run, CUT_S)
    story.record.put(outage=asdict(seen))
    assert seen.nothing_started_again
    assert not run.jobset().get("status", {}).get("restarts")
    assert seen.round_after > seen.round_at_mend
    assert seen.steps_alone > 0


def test_after_the_loss_of_a_node_the_run_goes_on_from_its_checkpoint(story):
    run = story.run()
    # past a checkpoint, such that what was trained alone in the cut is in it
    run.await_round(run.round("aws-1") + run.interval_rounds, 600)
    seen = node_loss.lose_node(story.view, run, story.stores()["os-1"], NODES["os-1"])
    story.record.put(node_loss=asdict(seen))
    assert seen.resumed_after_round > 0
    assert seen.round_at_loss - seen.resumed_after_round <= seen.interval_rounds + _BEING_WRITTEN
    run.await_end(_RUN_S)
    models.await_closing(story.view, run, _RUN_S)


def test_the_language_model_is_served_on_both_nodes(story):
    # the door of the node that was lost has another address now
    story.find_doors()
    for site in story.sites:
        story.view.until(
            f"{site} serves the language model",
            lambda site=site: set(story.asking().served_by(site, "/v2/models/language")) == {site},
            600,
        )


def test_the_comment_for_a_change_is_made_from_a_preview_of_it(story):
    story.stack.configure(*recipes.language(recipes.LONG_STEPS), *pull_request.CHANGE)
    preview, text = pull_request.comment(story.stack, place.REPORT)
    story.stack.configure(*recipes.language(recipes.LONG_STEPS))
    assert preview.succeeded
    assert "os-1-gateway" in text
    assert preview.count("replace") >= 1


@pytest.mark.parametrize("number", range(1, RECREATIONS + 1))
def test_the_platform_is_made_again_from_its_stores(story, number):
    served = story.stores()["os-1"].delivered("language", story.alias)
    signature = story.stores()["os-1"].signature(served)
    recreation.back_up_registry(story.view)
    # another run is under way when it happens
    under_way = recipes.language(recipes.LONG_STEPS, seed=100 + number)
    story.stack.configure(*under_way)
    story.stack.up()
    run = story.run()
    run.await_round(run.interval_rounds + 3, 600)
    stores = story.stores()
    made = recreation.Recreation()
    with watched(run) as before:
        made.stages["destroy"] = round(recreation.destroy(story.view, story.stack), 1)
    kept = {site: store.checkpoints(run.launch.run_id) for site, store in stores.items()}
    story.stack.configure(*recipes.language(recipes.LONG_STEPS))
    recreation.recreate(story.view, story.stack, made, story.sites)
    began = time.monotonic()
    story.find_doors()
    for site in story.sites:
        story.view.until(
            f"{site} is answered again",
            lambda site=site: set(story.asking().served_by(site, "/v2/models/language")) == {site},
            300,
        )
    made.stages["both sides answer"] = round(time.monotonic() - began, 1)
    known = {models.loaded(story.view, site) for site in story.sites}
    made.content = min(model.content for model, _ in known)
    version = models.registered(story.view, "language", story.alias)

    story.stack.configure(*under_way)
    story.stack.up()
    run = story.run()
    story.view.until("all sites go on", lambda: all(run.resumed_after(site) for site in run.sites), 600)
    made.lost = recreation.lost_in_training(run, dict(before), kept)
    story.record.append("recreations", {**asdict(made), "total_s": round(made.total_s, 1), "number": number})
    assert known == {(served, signature)}
    assert version["version"] == served.version
    assert made.lost.round_before - made.lost.resumed_after_round <= made.lost.interval_rounds + _BEING_WRITTEN
    story.stack.configure(*recipes.language(recipes.LONG_STEPS))
    story.stack.up()


def test_training_over_the_link_is_compared_with_no_link(story):
    for name, around in {"link": nullcontext(), "no link": speed.without_link(story.cluster)}.items():
        with around:
            story.stack.configure(*recipes.language(recipes.SHORT_STEPS, seed=len(name)))
            story.stack.up()
            run: Run = story.run()
            run.await_end(_RUN_S)
        result = story.stores()[story.sites[0]].result(run.launch.run_id)
        story.record.append("speed", speed.row(name, result))
    # a site that a busy machine kept from a round in time trains on alone, and then there are more samples
    assert len({row["rounds"] for row in story.record.values["speed"]}) == 1


def test_destroy_leaves_nothing_in_either_cloud_or_in_the_cluster(story):
    done = story.stack.destroy()
    story.record.figure("destroy_s", round(done.seconds, 1))
    assert story.stack.resources() == []
    assert leftovers.in_openstack(story.openstack) == {}
    assert leftovers.in_aws() == {}
    assert leftovers.in_cluster(story.view) == []
