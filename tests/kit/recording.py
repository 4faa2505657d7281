"""A mocked engine that keeps what the SDK's own mocks throw away: parents, options and which inputs are secret."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc


@dataclass(frozen=True)
class Declared:
    """One resource as the program declared it."""

    type: str
    name: str
    urn: str
    parent: str  # URN
    inputs: dict[str, Any]  # secrets are opened
    secrets: frozenset[str]  # top-level inputs that are, or hold, a secret
    provider: str  # `URN::ID`
    custom: bool
    protect: bool
    depends_on: tuple[str, ...]
    ignore_changes: tuple[str, ...]


class RecordingMonitor(mocks.MockMonitor):
    """Answers as the engine would: what goes in secret comes out secret, and a URN is there once."""

    def __init__(self, inner: pulumi.runtime.Mocks) -> None:
        super().__init__(inner)
        self.declared: list[Declared] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the protocol's name
        if request.type == "pulumi:pulumi:Stack":
            return super().RegisterResource(request)
        mocks._ensure_event_loop()
        urn = self.make_urn(request.parent, request.type, request.name)
        if any(known.urn == urn for known in self.declared):
            raise AssertionError(f"duplicate URN {urn}")
        wrapped = rpc.deserialize_properties(request.object)
        secrets = frozenset(key for key, value in wrapped.items() if rpc.is_rpc_secret(value))
        inputs = {key: rpc.unwrap_rpc_secret(value) if key in secrets else value for key, value in wrapped.items()}
        self.declared.append(
            Declared(
                type=request.type,
                name=request.name,
                urn=urn,
                parent=request.parent,
                inputs=inputs,
                secrets=secrets,
                provider=request.provider,
                custom=bool(request.custom),
                protect=bool(request.protect),
                depends_on=tuple(request.dependencies),
                ignore_changes=tuple(request.ignoreChanges),
            )
        )
        arguments = mocks.MockResourceArgs(
            typ=request.type,
            name=request.name,
            inputs=inputs,
            provider=request.provider,
            resource_id=request.importId,
            custom=bool(request.custom),
        )
        identifier, state = self.mocks.new_resource(arguments)
        hidden = secrets | set(request.additionalSecretOutputs)
        answer = {key: _secret(value) if key in hidden else value for key, value in state.items()}
        properties = mocks._sync_await(rpc.serialize_properties(answer, {}))
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, identifier or "", dict(state))
        return mocks.resource_pb2.RegisterResourceResponse(urn=urn, id=identifier, object=properties)


def _secret(value: Any) -> pulumi.Output[Any]:
    return value if isinstance(value, pulumi.Output) else pulumi.Output.secret(value)
