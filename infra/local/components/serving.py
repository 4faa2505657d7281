"""From a compressed model to an answer: registry, signed version, replicas, gateways, report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi

from infra import contracts
from infra.local import envoy, launch, resources
from infra.local.place import Place
from infra.scope import Group
from workloads.spec.artifact import RESULT
from workloads.spec.launch import LaunchSpec, RegisterLaunch, ReportLaunch, ServeLaunch
from workloads.spec.recipe import Recipe


def registry(place: Place) -> contracts.RegistryContract:
    """An MLflow server on SQLite, on loopback."""
    spec = {"listen": place.ports.registry.model_dump(mode="json"), "store": str(place.folder / "registry")}
    registry = resources.ModelRegistry("registry", place.service("registry", spec), place.under(place.platform))
    return contracts.RegistryContract(url=f"http://{place.ports.registry}", resource=registry)


def register(
    place: Place,
    recipe: Recipe,
    run: contracts.RunContract,
    model: contracts.CompressedContract,
    registry: contracts.RegistryContract,
    trust: contracts.TrustContract,
) -> contracts.VersionContract:
    """The compressed model, signed and registered with its lineage under the stack's alias."""
    alias = place.settings.registry.alias
    identity = pulumi.Output.all(model.manifest_digest, trust.fingerprint).apply(
        lambda known: launch.digest_of(*known, alias)
    )
    output = pulumi.Output.all(run.folder, identity).apply(lambda known: f"{known[0]}/registered-{known[1][:12]}")

    def render(known: list[str]) -> dict[str, Any]:
        spec = RegisterLaunch(
            registry=registry.url,
            recipe=recipe,
            model=Path(known[0]),
            trained=Path(known[1]),
            signing_key=trust.signing_key,
            alias=alias,
            output=Path(known[2]),
        )
        return spec.model_dump(mode="json")

    version = resources.ModelVersion(
        "version",
        place.job("version", identity, pulumi.Output.all(model.model, run.model, output).apply(render)),
        place.under(place.platform, registry.resource),
    )
    return contracts.VersionContract(
        version=version.output("version"),
        model_digest=version.output("model_digest"),
        page=version.output("page"),
        result=output.apply(lambda folder: f"{folder}/{RESULT}"),
        resource=version,
    )


def serve(
    place: Place,
    recipe: Recipe,
    model: contracts.CompressedContract,
    version: contracts.VersionContract,
    sites: Mapping[str, contracts.SiteContract],
    link: contracts.LinkContract,
    trust: contracts.TrustContract,
) -> contracts.ServiceContract:
    """A replica and a gateway at each site; a gateway reaches the other sites' replicas through the link."""
    group = Group("InferenceService", "inference", place.platform)
    replicas: list[pulumi.Resource] = []
    for index, name in enumerate(place.topology.names):

        def render(known: list[str], index: int = index, name: str = name) -> dict[str, Any]:
            spec = ServeLaunch(
                site=name,
                recipe=recipe,
                model=Path(known[0]),
                version=known[1],
                public_key=trust.public_key,
                listen=place.ports.replica(index),
                credentials=trust.credentials[name],
            )
            return spec.model_dump(mode="json")

        spec = pulumi.Output.all(model.model, version.version).apply(render)
        replicas.append(
            resources.Replica(
                f"{name}-replica",
                place.service(f"{name}-replica", spec, trust.fingerprint, version.model_digest),
                # one site after the other, so that a new version never leaves nobody to answer
                place.under(group, *replicas[-1:], sites[name].resource),
            )
        )
    endpoints: dict[str, pulumi.Output[str]] = {}
    for index, name in enumerate(place.topology.names):
        gateway = resources.Gateway(
            f"{name}-gateway",
            place.service(f"{name}-gateway", _gateway(place, index, link, trust, recipe), trust.fingerprint),
            place.under(group, *replicas, link.resource),
        )
        # an endpoint is worth having only once something answers there
        known = pulumi.Output.all(f"http://{place.ports.gateway(index)}", gateway.id)
        endpoints[name] = known.apply(lambda pair: str(pair[0]))
    return contracts.ServiceContract(endpoints)


def report(
    place: Place,
    run: contracts.RunContract,
    model: contracts.CompressedContract,
    version: contracts.VersionContract,
    picture: pulumi.Output[str],
) -> pulumi.Output[str]:
    """Path of the page about the run."""
    identity = pulumi.Output.all(run.manifest_digest, model.manifest_digest, version.version, picture).apply(
        lambda known: launch.digest_of(*known)
    )

    def render(known: list[str]) -> dict[str, Any]:
        spec = ReportLaunch(
            launch=LaunchSpec.model_validate_json(known[0]),
            compressed=Path(known[1]),
            registered=Path(known[2]),
            picture_svg=known[3],
            output=Path(known[4]) / f"report-{known[5][:12]}.html",
        )
        return spec.model_dump(mode="json")

    rendered = pulumi.Output.all(run.launch, model.folder, version.result, picture, run.folder, identity).apply(render)
    return resources.Report("report", place.job("report", identity, rendered), place.under(place.platform)).output(
        "page"
    )


def _gateway(
    place: Place, index: int, link: contracts.LinkContract, trust: contracts.TrustContract, recipe: Recipe
) -> dict[str, Any]:
    own = place.topology.names[index]
    replicas = [envoy.Replica(own, place.ports.replica(index))]
    replicas += [envoy.Replica(peer, link.serving[own, peer]) for peer in place.topology.peers(own)]
    listen, admin = place.ports.gateway(index), place.ports.gateway_admin(index)
    config = envoy.bootstrap(
        site=own,
        listen=listen,
        admin=admin,
        replicas=replicas,
        credentials=trust.credentials[own],
        max_request_bytes=recipe.serve.max_request_bytes,
        rtt_ms=max((pair.rtt_ms for pair in place.topology.links), default=0.0),
    )
    return {
        "listen": listen.model_dump(mode="json"),
        "admin": admin.model_dump(mode="json"),
        "bootstrap": json.dumps(config, sort_keys=True),
    }
