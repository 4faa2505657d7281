"""What changes a resource, what replaces it, and what is no reason to act."""

import asyncio
import dataclasses
import shutil
from pathlib import Path

import pytest

from infra.local.handler import Context
from infra.local.handlers import HANDLERS
from infra.local.handlers.site import SiteHandler, SiteInputs
from infra.local.handlers.training import TrainingHandler, with_kept_plan
from infra.local.values import UNKNOWN, has_unknown, plain_map, prop_map
from tests.kit.program import run_program, stack_config
from workloads.spec.facts import SiteFacts
from workloads.spec.launch import LaunchSpec

CONTEXT = Context("urn", lambda _: None, lambda _: None)
SITE = {"name": "aws-1", "folder": "/x/aws-1", "workers": 1, "machine_share": 2}


def test_every_kind_of_resource_has_one_handler():
    kinds = [handler.pulumi_type for handler in HANDLERS]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.pulumi_type)
def test_replacing_and_quiet_fields_are_inputs(handler):
    assert handler.replace_on <= handler.inputs.model_fields.keys()
    assert handler.quiet_on <= handler.inputs.model_fields.keys()


def test_equal_values_are_no_difference():
    assert not SiteHandler().difference({**SITE, "status": "ok"}, SITE).changed


def test_a_changed_field_is_an_update_or_a_replacement():
    handler = SiteHandler()
    assert handler.difference(SITE, {**SITE, "workers": 2}).replace == ()
    assert handler.difference(SITE, {**SITE, "workers": 2}).changed == ("workers",)
    assert handler.difference(SITE, {**SITE, "folder": "/y"}).replace == ("folder",)


def test_a_resource_that_is_not_well_differs_in_its_status():
    assert SiteHandler().difference({**SITE, "status": "stopped"}, SITE).changed == ("status",)


def test_a_run_is_replaced_by_another_identity_and_not_by_another_measurement():
    handler = TrainingHandler()
    state = {"identity": "a", "folder": "/j/a", "launch": {"link": {"rate_mbps": 98.0}}, "status": "ok"}
    measured = {**state, "launch": {"link": {"rate_mbps": 97.0}}}
    assert not handler.difference(state, measured).changed
    assert not handler.difference(state, {**state, "launch": UNKNOWN}).changed
    assert handler.difference(state, {**state, "identity": "b"}).replace == ("identity",)


def test_unknown_inputs_are_a_change_and_no_fault():
    handler = SiteHandler()
    assert handler.faults({**SITE, "folder": UNKNOWN}) == []
    assert handler.difference(SITE, {**SITE, "workers": UNKNOWN}).changed == ("workers",)


def test_faults_name_the_property():
    assert [key for key, _ in SiteHandler().faults({**SITE, "workers": "many", "colour": "blue"})] == [
        "colour",
        "workers",
    ]


def test_values_survive_the_way_through_properties():
    values = {"a": 1, "b": 2.5, "c": ["x", {"d": None, "e": True}], "f": "text"}
    assert plain_map(prop_map(values)) == values
    assert prop_map({"s": "x"}, frozenset({"s"}))["s"].is_secret
    assert has_unknown({"a": [f"http://{UNKNOWN}"]})


def test_a_site_is_its_folder(tmp_path):
    inputs = SiteInputs(name="aws-1", folder=tmp_path / "aws-1", workers=1, machine_share=2)
    handler = SiteHandler()
    state = asyncio.run(handler.create(inputs, CONTEXT))
    facts = SiteFacts.model_validate(state["facts"])
    assert (facts.name, facts.workers) == ("aws-1", 1)
    assert facts.threads >= 1
    assert asyncio.run(handler.read(inputs, state)) == {"status": "ok"}
    asyncio.run(handler.delete(inputs, state))
    assert not inputs.folder.exists()
    assert asyncio.run(handler.read(inputs, state)) is None


def test_a_run_that_was_cut_off_carries_on_with_the_plan_of_then(tmp_path):
    launch = LaunchSpec.model_validate(
        run_program(stack_config("local")).one("isthmus:local:TrainingRun").inputs["launch"]
    )
    path = tmp_path / "launch.json"
    assert with_kept_plan(launch, path) == launch
    earlier = launch.model_copy(update={"plan": launch.plan.model_copy(update={"bits": 2})})
    earlier.save(path)
    assert with_kept_plan(launch, path) == earlier


def test_a_plan_of_other_workers_or_of_another_version_gives_way(tmp_path):
    config = stack_config("local")
    launch = LaunchSpec.model_validate(run_program(config).one("isthmus:local:TrainingRun").inputs["launch"])
    config["isthmus:sites"] = [{"name": name, "kind": "local", "workers": 2} for name in ("aws-1", "os-1")]
    other = LaunchSpec.model_validate(run_program(config).one("isthmus:local:TrainingRun").inputs["launch"])
    path = tmp_path / "launch.json"
    other.save(path)
    assert with_kept_plan(launch, path) == launch
    path.write_text('{"run_id": "iris-1"}')
    assert with_kept_plan(launch, path) == launch


def test_a_full_disk_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    full = dataclasses.make_dataclass("usage", ["total", "used", "free"])(usage.total, usage.total, 5 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    inputs = SiteInputs(name="aws-1", folder=Path(tmp_path / "aws-1"), workers=1, machine_share=2)
    with pytest.raises(Exception, match="a site needs 1040.0 MiB, 5.0 MiB are free"):
        asyncio.run(SiteHandler().create(inputs, CONTEXT))
