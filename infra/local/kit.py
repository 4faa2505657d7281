"""`PlatformKit` for sites of kind `local`: declares the resources that the provider in this folder makes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi

from infra import contracts
from infra.local import envoy, launch, resources
from infra.local.handlers.authority import CA
from infra.local.ports import PortPlan
from infra.settings import Settings, SiteSettings
from infra.topology import Topology
from workloads.spec.artifact import RESULT
from workloads.spec.base import Credentials
from workloads.spec.launch import (
    CompressLaunch,
    LaunchSpec,
    LinkFacts,
    RegisterLaunch,
    ReportLaunch,
    ServeLaunch,
    ShardLaunch,
)
from workloads.spec.recipe import Recipe


class Group(pulumi.ComponentResource):
    """Resources that belong together, so that the engine's tree reads like the platform's picture."""

    def __init__(self, kind: str, name: str, parent: pulumi.Resource) -> None:
        super().__init__(f"isthmus:platform:{kind}", name, None, pulumi.ResourceOptions(parent=parent))
        self.register_outputs({})


class LocalKit:
    """Everything under one folder and on loopback ports of one plan."""

    def __init__(self, settings: Settings, root: Path, parent: pulumi.Resource) -> None:
        assert settings.local is not None  # noqa: S101 - Settings refuses local sites without it
        self._settings = settings
        self._folder = root / settings.local.folder
        self._topology = Topology.of(settings)
        self._ports = PortPlan(settings.local.base_port, len(settings.sites))
        self._parent = parent
        self._groups: dict[str, Group] = {}

    def authority(self) -> contracts.TrustContract:
        pki = self._folder / "pki"
        authority = resources.SiteAuthority(
            "authority", {"folder": str(pki), "sites": list(self._topology.names)}, self._under(self._parent)
        )
        return contracts.TrustContract(
            credentials={
                site: Credentials(ca=pki / CA, certificate=pki / site / "cert.pem", key=pki / site / "key.pem")
                for site in self._topology.names
            },
            signing_key=pki / "signer" / "key.pem",
            public_key=pki / "signer" / "public.pem",
            fingerprint=authority.output("fingerprint"),
        )

    def site(self, settings: SiteSettings) -> contracts.SiteContract:
        group = self._groups[settings.name] = Group("Site", settings.name, self._parent)
        site = resources.Site(
            f"{settings.name}-host",
            {
                "name": settings.name,
                "folder": str(self._site_folder(settings.name)),
                "workers": settings.workers,
                "machine_share": len(self._topology.sites),
            },
            self._under(group),
        )
        return contracts.SiteContract(
            settings=settings,
            threads_per_worker=site.output("threads_per_worker"),
            memory_bytes=site.output("memory_bytes"),
            resource=site,
        )

    def data(self, site: contracts.SiteContract, recipe: Recipe) -> contracts.DataContract:
        name = site.settings.name
        identity = launch.digest_of(recipe.data.model_dump_json(), name, *self._topology.names)
        folder = self._site_folder(name) / "data" / identity[:12]
        spec = ShardLaunch(recipe=recipe, site=name, sites=self._topology.names, folder=folder)
        shard = resources.DataShard(
            f"{name}-data",
            self._job(f"{name}-data", identity, spec.model_dump(mode="json")),
            self._under(self._groups[name], site.resource),
        )
        return contracts.DataContract(
            site=name, folder=folder, digest=shard.output("data_digest"), samples=shard.output("samples")
        )

    def link(self, sites: Mapping[str, contracts.SiteContract]) -> contracts.LinkContract:
        del sites  # the relay needs their ports alone, and the plan has them
        spec = launch.render_relay(self._topology, self._ports)
        link = resources.Link("link", self._service("link", spec.model_dump(mode="json")), self._under(self._parent))
        pairs = {pair: tuple(map(self._topology.index, pair)) for pair in self._topology.ordered_pairs()}
        return contracts.LinkContract(
            rate_mbps=link.output("rate_mbps"),
            rtt_ms=link.output("rtt_ms"),
            training={pair: self._ports.training_channel(a, b) for pair, (a, b) in pairs.items()},
            serving={pair: self._ports.serving_channel(a, b) for pair, (a, b) in pairs.items()},
            switch=f"http://{self._ports.link_control}/outage",
            resource=link,
        )

    def train(
        self,
        recipe: Recipe,
        sites: Mapping[str, contracts.SiteContract],
        data: Mapping[str, contracts.DataContract],
        link: contracts.LinkContract,
        trust: contracts.TrustContract,
    ) -> contracts.RunContract:
        names = self._topology.names
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
                _run_id(recipe, known["identity"]),
                facts,
                LinkFacts(rate_mbps=known["rate_mbps"], rtt_ms=known["rtt_ms"]),
                self._ports,
                trust.credentials,
                self._folder,
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
            "training", self._job("training", identity, rendered), self._under(self._parent, link.resource)
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
        self, recipe: Recipe, run: contracts.RunContract, data: Mapping[str, contracts.DataContract]
    ) -> contracts.CompressedContract:
        identity = run.manifest_digest.apply(lambda digest: launch.digest_of(digest, recipe.compress.model_dump_json()))
        shards = {name: data[name].folder for name in self._topology.names}
        folder = pulumi.Output.all(run.folder, identity).apply(lambda known: f"{known[0]}/compressed-{known[1][:12]}")

        def render(known: list[str]) -> dict[str, Any]:
            spec = CompressLaunch(recipe=recipe, model=Path(known[0]), shards=shards, output=Path(known[1]))
            return spec.model_dump(mode="json")

        compressed = resources.CompressedModel(
            "compression",
            self._job("compression", identity, pulumi.Output.all(run.model, folder).apply(render)),
            self._under(self._parent),
        )
        return contracts.CompressedContract(
            folder=folder,
            model=compressed.output("model"),
            manifest_digest=compressed.output("manifest_digest"),
            before=compressed.output("before"),
            after=compressed.output("after"),
        )

    def registry(self) -> contracts.RegistryContract:
        spec = {"listen": self._ports.registry.model_dump(mode="json"), "store": str(self._folder / "registry")}
        registry = resources.ModelRegistry("registry", self._service("registry", spec), self._under(self._parent))
        return contracts.RegistryContract(url=f"http://{self._ports.registry}", resource=registry)

    def register(
        self,
        recipe: Recipe,
        run: contracts.RunContract,
        model: contracts.CompressedContract,
        registry: contracts.RegistryContract,
        trust: contracts.TrustContract,
    ) -> contracts.VersionContract:
        alias = self._settings.registry.alias
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
            self._job("version", identity, pulumi.Output.all(model.model, run.model, output).apply(render)),
            self._under(self._parent, registry.resource),
        )
        return contracts.VersionContract(
            version=version.output("version"),
            model_digest=version.output("model_digest"),
            page=version.output("page"),
            result=output.apply(lambda folder: f"{folder}/{RESULT}"),
            resource=version,
        )

    def serve(
        self,
        recipe: Recipe,
        model: contracts.CompressedContract,
        version: contracts.VersionContract,
        sites: Mapping[str, contracts.SiteContract],
        link: contracts.LinkContract,
        trust: contracts.TrustContract,
    ) -> contracts.ServiceContract:
        group = Group("InferenceService", "inference", self._parent)
        replicas: list[pulumi.Resource] = []
        for index, name in enumerate(self._topology.names):

            def render(known: list[str], index: int = index, name: str = name) -> dict[str, Any]:
                spec = ServeLaunch(
                    site=name,
                    recipe=recipe,
                    model=Path(known[0]),
                    version=known[1],
                    public_key=trust.public_key,
                    listen=self._ports.replica(index),
                    credentials=trust.credentials[name],
                )
                return spec.model_dump(mode="json")

            spec = pulumi.Output.all(model.model, version.version).apply(render)
            replicas.append(
                resources.Replica(
                    f"{name}-replica",
                    self._service(f"{name}-replica", spec, trust.fingerprint, version.model_digest),
                    # one site after the other, so that a new version never leaves nobody to answer
                    self._under(group, *replicas[-1:], sites[name].resource),
                )
            )
        endpoints: dict[str, pulumi.Output[str]] = {}
        for index, name in enumerate(self._topology.names):
            gateway = resources.Gateway(
                f"{name}-gateway",
                self._service(f"{name}-gateway", self._gateway(index, link, trust, recipe), trust.fingerprint),
                self._under(group, *replicas, link.resource),
            )
            # an endpoint is worth having only once something answers there
            known = pulumi.Output.all(f"http://{self._ports.gateway(index)}", gateway.id)
            endpoints[name] = known.apply(lambda pair: str(pair[0]))
        return contracts.ServiceContract(endpoints)

    def report(
        self,
        run: contracts.RunContract,
        model: contracts.CompressedContract,
        version: contracts.VersionContract,
        picture: pulumi.Output[str],
    ) -> pulumi.Output[str]:
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

        rendered = pulumi.Output.all(run.launch, model.folder, version.result, picture, run.folder, identity).apply(
            render
        )
        return resources.Report("report", self._job("report", identity, rendered), self._under(self._parent)).output(
            "page"
        )

    def _gateway(
        self, index: int, link: contracts.LinkContract, trust: contracts.TrustContract, recipe: Recipe
    ) -> dict[str, Any]:
        own = self._topology.names[index]
        replicas = [envoy.Replica(own, self._ports.replica(index))]
        replicas += [envoy.Replica(peer, link.serving[own, peer]) for peer in self._topology.peers(own)]
        listen, admin = self._ports.gateway(index), self._ports.gateway_admin(index)
        config = envoy.bootstrap(
            site=own,
            listen=listen,
            admin=admin,
            replicas=replicas,
            credentials=trust.credentials[own],
            max_request_bytes=recipe.serve.max_request_bytes,
        )
        return {
            "listen": listen.model_dump(mode="json"),
            "admin": admin.model_dump(mode="json"),
            "bootstrap": json.dumps(config, sort_keys=True),
        }

    def _site_folder(self, name: str) -> Path:
        return self._folder / "sites" / name

    def _job(self, name: str, identity: pulumi.Input[str], spec: pulumi.Input[dict[str, Any]]) -> dict[str, Any]:
        folder = pulumi.Output.from_input(identity).apply(
            lambda known: str(self._folder / "jobs" / f"{name}-{known[:12]}")
        )
        return {"identity": identity, "launch": spec, "folder": folder}

    def _service(self, name: str, spec: pulumi.Input[dict[str, Any]], *depends: pulumi.Input[str]) -> dict[str, Any]:
        return {"folder": str(self._folder / "services" / name), "spec": spec, "depends": list(depends)}

    @staticmethod
    def _under(parent: pulumi.Resource, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        # `after` orders what no value connects: a process must be up before another one looks for it
        return pulumi.ResourceOptions(parent=parent, depends_on=list(after))


def _run_id(recipe: Recipe, identity: str) -> str:
    return f"{recipe.name}-{identity[:10]}"
