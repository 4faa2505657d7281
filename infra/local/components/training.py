"""From data to a compressed model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi

from infra import contracts
from infra.local import launch, resources
from infra.local.place import Place
from workloads.spec.launch import CompressLaunch, LinkFacts
from workloads.spec.recipe import Recipe


def train(
    place: Place,
    recipe: Recipe,
    sites: Mapping[str, contracts.SiteContract],
    data: Mapping[str, contracts.DataContract],
    link: contracts.LinkContract,
    trust: contracts.TrustContract,
) -> contracts.RunContract:
    """One run over all sites, launched with what the sites, the data and the link turned out to be."""
    names = place.topology.names
    workers = {name: sites[name].settings.workers for name in names}
    identity = pulumi.Output.all(*(data[name].digest for name in names)).apply(
        lambda digests: launch.training_identity(recipe, dict(zip(names, digests, strict=True)), workers)
    )

    def render(known: dict[str, Any]) -> dict[str, Any]:
        facts = tuple(
            launch.SiteFacts(
                name=name,
                workers=workers[name],
                threads=int(known["threads"][name]),
                data=data[name].folder,
                data_digest=known["digests"][name],
            )
            for name in names
        )
        spec = launch.render_launch(
            recipe,
            launch.run_id(recipe, known["identity"]),
            facts,
            LinkFacts(rate_mbps=known["rate_mbps"], rtt_ms=known["rtt_ms"]),
            place.ports,
            trust.credentials,
            place.folder,
        )
        return spec.model_dump(mode="json")

    rendered: pulumi.Output[dict[str, Any]] = pulumi.Output.from_input(
        {
            "identity": identity,
            "digests": {name: data[name].digest for name in names},
            "threads": {name: sites[name].threads_per_worker for name in names},
            "rate_mbps": link.rate_mbps,
            "rtt_ms": link.rtt_ms,
        }
    ).apply(render)
    run = resources.TrainingRun(
        "training", place.job("training", identity, rendered), place.under(place.platform, link.resource)
    )
    return contracts.RunContract(
        run_id=run.output("run_id"),
        folder=run.output("model").apply(lambda model: str(Path(model).parent)),
        model=run.output("model"),
        manifest_digest=run.output("manifest_digest"),
        launch=rendered.apply(json.dumps),
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
