"""Processes that go on after `pulumi up`: the link, the registry, the replicas and the gateways."""

import asyncio
import shutil
import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any, Generic, TypeVar

from infra.local import relay
from infra.local.handler import Context, Handler, State
from infra.local.ports import in_use
from infra.local.probes import accepts, answers
from infra.local.supervision import find, listening_ports, start_service, stop_service
from workloads.spec.base import Endpoint, Frozen
from workloads.spec.errors import UserError
from workloads.spec.launch import RelaySpec, ServeLaunch

SpecT = TypeVar("SpecT", bound=Frozen)


class ServiceInputs(Frozen, Generic[SpecT]):
    """`spec` is written to `folder/spec.json`. A change of anything here starts the service anew, in place.

    `depends` holds what the service reads at start and does not notice later, such as the fingerprint of its
    certificates.
    """

    folder: Path
    spec: SpecT
    depends: tuple[str, ...] = ()


class ServiceHandler(Handler[ServiceInputs[Any]]):
    """A supervised process. Refresh sees a dead one, and the next up starts it again."""

    async def create(self, inputs: ServiceInputs[Any], context: Context) -> State:
        await self.start(inputs)
        context.say(f"{inputs.folder.name} is ready")
        return {**await self.outputs(inputs), "status": "ok"}

    async def read(self, inputs: ServiceInputs[Any], state: State) -> State | None:
        del state
        return {"status": "ok" if find(inputs.folder) else "stopped"}

    async def update(self, inputs: ServiceInputs[Any], state: State, context: Context) -> State:
        old = Path(state["folder"])
        if old != inputs.folder:
            await stop_service(old)
        await self.start(inputs)
        context.say(f"{inputs.folder.name} is ready again")
        kept = {key: value for key, value in state.items() if key not in ServiceInputs.model_fields}
        return {**kept, **await self.outputs(inputs), "status": "ok"}

    async def delete(self, inputs: ServiceInputs[Any], state: State) -> None:
        del state
        await stop_service(inputs.folder)
        shutil.rmtree(inputs.folder, ignore_errors=True)

    async def start(self, inputs: ServiceInputs[Any]) -> None:
        """Start and wait until it answers. Raises `UserError` when one of its ports is somebody else's."""
        await stop_service(inputs.folder)
        for endpoint in self.listens(inputs.spec):
            await _make_room(endpoint, inputs.folder)
        spec = inputs.folder / "spec.json"
        inputs.spec.save(spec)
        await start_service(inputs.folder, self.command(inputs, spec), lambda: self.ready(inputs.spec))

    async def outputs(self, inputs: ServiceInputs[Any]) -> State:
        """What dependents may use beyond the inputs, asked for once the service is ready."""
        del inputs
        return {}

    @abstractmethod
    def listens(self, spec: Any) -> tuple[Endpoint, ...]:
        """Ports that must be free before the start."""

    @abstractmethod
    def command(self, inputs: ServiceInputs[Any], spec: Path) -> list[str]:
        """The process, given where its spec was written."""

    @abstractmethod
    async def ready(self, spec: Any) -> bool:
        """Whether it answers now."""


class LinkHandler(ServiceHandler):
    """`isthmus:local:Link`: the emulated WAN, measured through itself when it is made or its figures change."""

    pulumi_type = "isthmus:local:Link"
    inputs = ServiceInputs[RelaySpec]

    async def update(self, inputs: ServiceInputs[RelaySpec], state: State, context: Context) -> State:
        outputs = await super().update(inputs, state, context)
        same = RelaySpec.model_validate(state["spec"]) == inputs.spec
        # a healed link is the same link: measuring it again would give dependents new noise to react to
        return {**outputs, **{key: state[key] for key in ("rate_mbps", "rtt_ms")}} if same else outputs

    async def outputs(self, inputs: ServiceInputs[RelaySpec]) -> State:
        facts = await relay.measure(inputs.spec)
        return {"rate_mbps": round(facts.rate_mbps, 1), "rtt_ms": round(facts.rtt_ms, 1)}

    def listens(self, spec: RelaySpec) -> tuple[Endpoint, ...]:
        return (Endpoint(port=spec.control), *(Endpoint(port=channel.listen) for channel in spec.channels))

    def command(self, inputs: ServiceInputs[RelaySpec], spec: Path) -> list[str]:
        del inputs
        return [sys.executable, "-m", "infra.local.relay", str(spec)]

    async def ready(self, spec: RelaySpec) -> bool:
        return await answers(f"http://127.0.0.1:{spec.control}/status")


class RegistrySpec(Frozen):
    """An MLflow server on SQLite."""

    listen: Endpoint
    store: Path  # database and artefacts


class RegistryHandler(ServiceHandler):
    """`isthmus:local:ModelRegistry`."""

    pulumi_type = "isthmus:local:ModelRegistry"
    inputs = ServiceInputs[RegistrySpec]

    def listens(self, spec: RegistrySpec) -> tuple[Endpoint, ...]:
        return (spec.listen,)

    def command(self, inputs: ServiceInputs[RegistrySpec], spec: Path) -> list[str]:
        del spec
        port, store = str(inputs.spec.listen.port), str(inputs.spec.store)
        return [sys.executable, "-m", "workloads.registry.server", "--port", port, "--folder", store]

    async def ready(self, spec: RegistrySpec) -> bool:
        return await answers(f"http://{spec.listen}/health")

    async def delete(self, inputs: ServiceInputs[RegistrySpec], state: State) -> None:
        await super().delete(inputs, state)
        shutil.rmtree(inputs.spec.store, ignore_errors=True)


class ReplicaHandler(ServiceHandler):
    """`isthmus:local:Replica`: one process that serves one signed model version at one site."""

    pulumi_type = "isthmus:local:Replica"
    inputs = ServiceInputs[ServeLaunch]

    def listens(self, spec: ServeLaunch) -> tuple[Endpoint, ...]:
        return (spec.listen,)

    def command(self, inputs: ServiceInputs[ServeLaunch], spec: Path) -> list[str]:
        del inputs
        return [sys.executable, "-m", "workloads.inference", str(spec)]

    async def ready(self, spec: ServeLaunch) -> bool:
        # the port opens only after the signature was verified and the model loaded
        return await accepts(spec.listen.host, spec.listen.port)


class GatewaySpec(Frozen):
    """An Envoy with a rendered bootstrap."""

    listen: Endpoint
    admin: Endpoint
    bootstrap: str


class GatewayHandler(ServiceHandler):
    """`isthmus:local:Gateway`: a site's entrance, local replica first."""

    pulumi_type = "isthmus:local:Gateway"
    inputs = ServiceInputs[GatewaySpec]

    def listens(self, spec: GatewaySpec) -> tuple[Endpoint, ...]:
        return (spec.listen, spec.admin)

    def command(self, inputs: ServiceInputs[GatewaySpec], spec: Path) -> list[str]:
        config = spec.with_name("bootstrap.json")
        config.write_text(inputs.spec.bootstrap, encoding="utf-8")
        envoy = Path(sys.executable).with_name("envoy")
        # with hot restart Envoy asks the kernel to end it with its parent, and the provider ends with every update
        options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
        return [str(envoy), "--config-path", str(config), *options]

    async def ready(self, spec: GatewaySpec) -> bool:
        # not only listening: a replica has passed its health check
        return await answers(f"http://{spec.listen}/v2/health/ready")


async def _make_room(endpoint: Endpoint, folder: Path, patience_s: float = 5.0) -> None:
    """See that a port is free. Raises `UserError` when somebody else's program has it.

    The port plan gives no port twice, so a service of the same platform that listens there is one that the stack no
    longer declares: a renamed site's, which the engine deletes only once its successor is up. It is ended here. A port
    that our own stopped process held may take a moment to come free.
    """
    for sibling in folder.parent.glob("*"):
        if sibling != folder and endpoint.port in listening_ports(sibling):
            await stop_service(sibling)
    for _ in range(round(patience_s / 0.25)):
        if not in_use(endpoint):
            return
        await asyncio.sleep(0.25)
    raise UserError(
        f"port {endpoint.port} for {folder.name} is in use by another program; stop that one, or set "
        "isthmus:local.base_port"
    )
