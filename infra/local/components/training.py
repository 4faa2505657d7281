"""From data to a compressed model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi

from infra import contracts
from infra.local import launch, resources
from infra.local.place import Place
from workloads.planning import plan_run
from workloads.spec.launch import CompressLaunch, LinkFacts
from workloads.spec.plan import Plan
from workloads.spec.recipe import Recipe


def train(
    place: Place,
    recipe: Recipe,
    sites: Mapping[str, contracts.SiteContract],
    data: Mapping[str, contracts.DataContract],
    link: contracts.LinkContract,
    trust: contracts.TrustContract,
    registry: contracts.RegistryContract,
) -> contracts.RunContract:
    """One run over all sites, launched with what the sites, the data and the link turned out to be."""
    names = place.topology.names
    workers = {name: sites[name].settings.workers for name in names}
    identity = pulumi.Output.all(*(data[name].digest for name in names)).apply(
        lambda digests: launch.training_identity(recipe, dict(zip(names, digests, strict=True)), workers)
    )

    def render(known: dict[str, Any]) -> dict[str, Any]:
        facts = dict(known["facts"])
        measured = LinkFacts(rate_mbps=known["rate_mbps"], rtt_ms=known["rtt_ms"])
        kept = known.get("plan")
        spec = launch.render_launch(
            recipe,
            launch.run_id(recipe, known["identity"]),
            Plan.model_validate(kept) if kept else plan_run(recipe, tuple(facts.values()), measured),
            tuple(launch.LaunchSite(fact, data[name].folder, known["digests"][name]) for name, fact in facts.items()),
            measured,
            place.ports,
            trust.credentials,
            registry.url,
            place.folder,
        )
        return spec.model_dump(mode="json")

    known: dict[str, Any] = {
        "identity": identity,
        "digests": {name: data[name].digest for name in names},
        "facts": {name: sites[name].facts for name in names},
        "rate_mbps": link.rate_mbps,
        "rtt_ms": link.rtt_ms,
    }
    wanted: pulumi.Output[dict[str, Any]] = pulumi.Output.from_input(known).apply(render)
    run = resources.TrainingRun(
        "training", place.job("training", identity, wanted), place.under(place.platform, link.resource)
    )
    # a run that was begun earlier has the plan of then, whatever the same facts would lead to now
    obeyed = pulumi.Output.from_input({**known, "plan": run.output("plan")}).apply(render)
    return contracts.RunContract(
        run_id=run.output("run_id"),
        folder=run.output("model").apply(lambda model: str(Path(model).parent)),
        model=run.output("model"),
        manifest_digest=run.output("manifest_digest"),
        launch=obeyed.apply(json.dumps),
        plan=obeyed.apply(lambda spec: dict(spec["plan"])),
        metrics=run.output("metrics"),
        link_bytes=run.output("link_bytes"),
        ddp_link_bytes=run.output("ddp_link_bytes"),
        samples=run.output("samples"),
    )


def compress(
    place: Place, recipe: Recipe, run: contracts.RunContract, data: Mapping[str, contracts.DataContract]
) -> contracts.CompressedContract:
    """Pruned and quantised, judged on the sites' held-out data."""
    identity = run.manifest_digest.apply(lambda digest: launch.digest_of(digest, recipe.compress.model_dump_json()))
    shards = {name: data[name].folder for name in place.topology.names}
    folder = pulumi.Output.all(run.folder, identity).apply(lambda known: f"{known[0]}/compressed-{known[1][:12]}")

    def render(known: list[str]) -> dict[str, Any]:
        spec = CompressLaunch(recipe=recipe, model=Path(known[0]), shards=shards, output=Path(known[1]))
        return spec.model_dump(mode="json")

    compressed = resources.CompressedModel(
        "compression",
        place.job("compression", identity, pulumi.Output.all(run.model, folder).apply(render)),
        place.under(place.platform),
    )
    return contracts.CompressedContract(
        folder=folder,
        model=compressed.output("model"),
        manifest_digest=compressed.output("manifest_digest"),
        before=compressed.output("before"),
        after=compressed.output("after"),
    )
