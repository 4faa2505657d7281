"""The whole program of the local stack, under mocks that refuse what an engine would refuse."""

import gc
import json

import pulumi
import pytest

from infra import platform_graph
from infra.planned import plan_figures
from tests.kit.program import SITE_FACTS, StrictMocks, run_program, stack_config, stack_files
from workloads.planning import plan_run
from workloads.spec.facts import SiteFacts
from workloads.spec.launch import LaunchSpec, RelaySpec


@pytest.fixture(scope="module")
def program():
    return run_program(stack_config("local"))


def test_the_local_stack_file_is_a_program_that_runs(program):
    assert program.exports["endpoints"]


def test_every_resource_has_the_explicit_provider(program):
    custom = [r for r in program.resources if r.custom and not r.type.startswith("pulumi:")]
    assert custom
    assert all("pulumi:providers:isthmus::local" in resource.provider for resource in custom)


def test_default_providers_are_disabled_in_every_stack():
    for path in stack_files():
        assert stack_config(path.name.split(".")[1])["pulumi:disable-default-providers"] == ["*"]


def test_the_outputs_of_the_sites_and_the_link_become_the_launch(program):
    launch = LaunchSpec.model_validate(program.one("isthmus:local:TrainingRun").inputs["launch"])
    assert (launch.link.rate_mbps, launch.link.rtt_ms) == (98.5, 30.4)
    assert {site.data_digest for site in launch.sites} == {"d" * 64}
    relay = program.one("isthmus:local:Link").inputs["spec"]
    listening = {(c["source"], c["destination"]): c["listen"] for c in relay["channels"] if c["purpose"] == "training"}
    for site in launch.sites:
        for peer, endpoints in site.peers.items():
            assert [endpoint.port for endpoint in endpoints] == [listening[site.name, peer]]


def test_the_facts_of_the_sites_and_the_link_become_the_plan_that_the_launch_and_the_outputs_show(program):
    launch = LaunchSpec.model_validate(program.one("isthmus:local:TrainingRun").inputs["launch"])
    sites = [SiteFacts(name=name, workers=1, **SITE_FACTS) for name in ("aws-1", "os-1")]
    assert launch.plan == plan_run(launch.recipe, sites, launch.link)
    assert launch.plan.sites["aws-1"].step_s is not None
    assert program.exports["sites"]["os-1"] == sites[1].model_dump(mode="json")
    assert program.exports["plan"] == plan_figures(launch.plan.model_dump(mode="json"))
    assert program.exports["plan"]["sites"]["aws-1"]["layout"] == "one worker"


def test_a_model_in_parts_has_a_server_and_a_channel_for_each():
    config = stack_config("local")
    config["isthmus:sites"] = [{"name": name, "kind": "local", "workers": 2} for name in ("aws-1", "os-1")]
    split = {"train.layout": {"shards": 2}}
    config["isthmus:training"] = {"recipe": "language", "overrides": split}
    program = run_program(config)
    launch = LaunchSpec.model_validate(program.one("isthmus:local:TrainingRun").inputs["launch"])
    relay = RelaySpec.model_validate(program.one("isthmus:local:Link").inputs["spec"])
    ways = {(way.source, way.listen): way.target for way in relay.channels if way.purpose == "training"}
    for site in launch.sites:
        assert len(site.listen) == 2
        for peer, endpoints in site.peers.items():
            assert tuple(ways[site.name, endpoint.port] for endpoint in endpoints) == launch.site(peer).listen


def test_a_run_keeps_the_plan_that_it_was_begun_with(program):
    kept = program.one("isthmus:local:TrainingRun").inputs["launch"]["plan"] | {"bits": 4}
    again = run_program(stack_config("local"), mocks=StrictMocks(kept_plan=kept))
    assert again.one("isthmus:local:TrainingRun").inputs["launch"]["plan"]["bits"] == 8
    assert again.exports["plan"]["bits"] == 4
    assert again.one("isthmus:local:Report").inputs["launch"]["launch"]["plan"]["bits"] == 4


def test_a_link_or_a_site_that_is_measured_otherwise_trains_nothing_again(program):
    mocks = StrictMocks(outputs={"isthmus:local:Link": {"rate_mbps": 20.0, "rtt_ms": 80.0}})
    other = run_program(stack_config("local"), mocks=mocks)
    identities = [run.one("isthmus:local:TrainingRun").inputs["identity"] for run in (program, other)]
    assert identities[0] == identities[1]
    assert other.one("isthmus:local:TrainingRun").inputs["launch"]["link"]["rate_mbps"] == 20.0


def test_the_link_leads_to_the_exchanges_and_replicas(program):
    launch = LaunchSpec.model_validate(program.one("isthmus:local:TrainingRun").inputs["launch"])
    replicas = {
        r.inputs["spec"]["site"]: r.inputs["spec"]["listen"]["port"] for r in program.of_type("isthmus:local:Replica")
    }
    for channel in program.one("isthmus:local:Link").inputs["spec"]["channels"]:
        site = channel["destination"]
        expected = launch.site(site).listen[0].port if channel["purpose"] == "training" else replicas[site]
        assert channel["target"]["port"] == expected


def test_one_replica_and_one_gateway_a_site_with_its_own_certificate(program):
    for replica in program.of_type("isthmus:local:Replica"):
        spec = replica.inputs["spec"]
        assert f"/{spec['site']}/key.pem" in spec["credentials"]["key"]
    assert len(program.of_type("isthmus:local:Gateway")) == 2


def test_every_gateway_prefers_its_own_site(program):
    for gateway in program.of_type("isthmus:local:Gateway"):
        bootstrap = json.loads(gateway.inputs["spec"]["bootstrap"])
        (cluster,) = [c for c in bootstrap["static_resources"]["clusters"] if "load_assignment" in c]
        localities = cluster["load_assignment"]["endpoints"]
        (first,) = [group for group in localities if group.get("priority", 0) == 0]
        assert first["locality"]["zone"] in gateway.name


def test_another_recipe_changes_the_run_and_not_the_sites_or_the_link(program):
    config = stack_config("local")
    config["isthmus:training"] = {"recipe": "iris", "overrides": {"train.epochs": 2}}
    other = run_program(config)

    def inputs(run, kind):
        return [resource.inputs for resource in run.of_type(f"isthmus:local:{kind}")]

    for kind in ("Site", "Link", "SiteAuthority", "ModelRegistry"):
        assert inputs(program, kind) == inputs(other, kind)
    assert [i["identity"] for i in inputs(program, "DataShard")] == [i["identity"] for i in inputs(other, "DataShard")]
    assert inputs(program, "TrainingRun")[0]["identity"] != inputs(other, "TrainingRun")[0]["identity"]


def test_a_mistake_is_one_line_for_the_engine_to_show():
    config = stack_config("local")
    config["isthmus:training"] = {"recipe": "irsi"}
    with pytest.raises(pulumi.RunError, match="'irsi' is unknown; choose one of"):
        run_program(config)
    config = stack_config("local")
    config["isthmus:sites"] = [*config["isthmus:sites"][:1], *stack_config("dev")["isthmus:sites"][1:]]
    with pytest.raises(pulumi.RunError, match="a cloud stack has one of kind aws and one of kind openstack"):
        run_program(config)


def test_the_mocks_refuse_a_duplicate_and_an_unknown_function():
    mocks = StrictMocks()
    args = pulumi.runtime.MockResourceArgs("isthmus:platform:Site", "a", {}, "", "", custom=False)
    mocks.new_resource(args)
    with pytest.raises(AssertionError, match="duplicate"):
        mocks.new_resource(args)
    with pytest.raises(AssertionError, match="unknown function"):
        mocks.call(pulumi.runtime.MockCallArgs("aws:index/getRegion:getRegion", {}, ""))


def test_no_garbage_is_looked_for_while_the_program_is_declared_nor_later_in_what_it_has_declared(monkeypatch):
    declaring, later = [], []
    build = platform_graph.build

    def watched(*given):
        declaring.append(gc.isenabled())
        return build(*given)

    class Watching(StrictMocks):
        def new_resource(self, args):
            later.append((gc.isenabled(), gc.get_freeze_count() > 0))
            return super().new_resource(args)

    monkeypatch.setattr(platform_graph, "build", watched)
    run_program(stack_config("local"), mocks=Watching())
    assert declaring == [False]
    assert set(later) == {(True, True)}
    assert (gc.isenabled(), gc.get_freeze_count()) == (True, 0)


def test_a_program_that_is_refused_has_its_collector_back():
    with pytest.raises(pulumi.RunError):
        run_program({**stack_config("local"), "isthmus:training": {"recipe": "irsi"}})
    assert (gc.isenabled(), gc.get_freeze_count()) == (True, 0)
