"""The provider of package `isthmus`: Pulumi's resource protocol over the handlers of `infra.local.handlers`.

A Python provider and not dynamic resources, since those pickle code into the state and tie it to one Python version.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from pulumi.provider.experimental import provider as api
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2_grpc

from infra.local.handler import Context, Handler
from infra.local.handlers import HANDLERS
from infra.local.values import plain_map, prop_map
from workloads.spec.errors import UserError

VERSION = "0.1.0"
_METHODS = ("Check", "CheckConfig", "Configure", "Create", "Delete", "Diff", "DiffConfig", "Invoke", "Read", "Update")


class LocalProvider(api.Provider):
    """Finds the handler of a resource and translates between Pulumi's values and plain ones."""

    def __init__(self, engine: engine_pb2_grpc.EngineStub, handlers: dict[str, Handler[Any]]) -> None:
        self._engine = engine
        self._handlers = handlers
        self._running: set[asyncio.Task[Any]] = set()
        self._messages: set[asyncio.Task[Any]] = set()
        self._in_order = asyncio.Lock()
        self._cancelled = False

    async def check(self, request: api.CheckRequest) -> api.CheckResponse:
        handler = self._handler(request.urn)
        failures = [api.CheckFailure(key, why) for key, why in handler.faults(plain_map(request.new_inputs))]
        return api.CheckResponse(inputs=request.new_inputs, failures=failures)

    async def diff(self, request: api.DiffRequest) -> api.DiffResponse:
        handler = self._handler(request.urn)
        wanted = {key: value for key, value in request.new_inputs.items() if key not in request.ignore_changes}
        found = handler.difference(plain_map(request.old_state), plain_map(wanted))
        return api.DiffResponse(
            changes=bool(found.changed),
            diffs=list(found.changed),
            replaces=list(found.replace),
            delete_before_replace=handler.delete_first,
        )

    async def create(self, request: api.CreateRequest) -> api.CreateResponse:
        handler = self._handler(request.urn)
        wanted = plain_map(request.properties)
        if request.preview:  # outputs that are left out are unknown to the preview
            return api.CreateResponse(resource_id="", properties=request.properties)
        outputs = await self._cancellable(handler.create(handler.parse(wanted), self._context(request.urn)))
        return api.CreateResponse(request.urn.rpartition("::")[2], prop_map({**wanted, **outputs}, handler.secret))

    async def update(self, request: api.UpdateRequest) -> api.UpdateResponse:
        handler = self._handler(request.urn)
        state, wanted = plain_map(request.olds), plain_map(request.news)
        if request.preview:
            return api.UpdateResponse({**request.olds, **request.news})
        outputs = await self._cancellable(handler.update(handler.parse(wanted), state, self._context(request.urn)))
        return api.UpdateResponse(prop_map({**wanted, **outputs}, handler.secret))

    async def read(self, request: api.ReadRequest) -> api.ReadResponse:
        handler = self._handler(request.urn)
        state = plain_map(request.properties)
        outputs = await self._cancellable(handler.read(handler.parse(state), state))
        if outputs is None:
            return api.ReadResponse(resource_id="")
        return api.ReadResponse(request.resource_id, prop_map({**state, **outputs}, handler.secret), request.inputs)

    async def delete(self, request: api.DeleteRequest) -> None:
        handler = self._handler(request.urn)
        state = plain_map(request.properties)
        await self._cancellable(handler.delete(handler.parse(state), state))

    async def cancel(self) -> None:
        """End what runs: jobs are stopped with everything they started, and carry on from their checkpoints next time."""
        self._cancelled = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _handler(self, urn: str) -> Handler[Any]:
        token = urn.split("::")[2].rpartition("$")[2]
        if token not in self._handlers:
            raise UserError(f"resource type {token} is unknown; this provider has {', '.join(sorted(self._handlers))}")
        return self._handlers[token]

    async def _cancellable(self, work: Awaitable[Any]) -> Any:
        task = asyncio.ensure_future(work)
        if self._cancelled:
            task.cancel()
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if self._cancelled:
                raise UserError("interrupted; the next `make up` carries on from here") from None
            raise

    def _context(self, urn: str) -> Context:
        def send(message: str, *, ephemeral: bool) -> None:
            line = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=message, urn=urn, ephemeral=ephemeral)
            task = asyncio.get_running_loop().create_task(self._log(line))
            self._messages.add(task)
            task.add_done_callback(self._messages.discard)

        return Context(urn, lambda text: send(text, ephemeral=True), lambda text: send(text, ephemeral=False))

    async def _log(self, line: engine_pb2.LogRequest) -> None:
        try:
            async with self._in_order:
                await _reply(self._engine.Log(line))
        except grpc.aio.AioRpcError as error:
            logging.getLogger(__name__).debug("the engine did not take a line: %s", error.code())


class _Servicer(ProviderServicer):
    """The library's servicer, but a user's mistake reaches the engine as its one line and not with a stack."""


def _one_line(name: str) -> None:
    inherited: Callable[..., Awaitable[Any]] = getattr(ProviderServicer, name)

    async def method(self: _Servicer, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await inherited(self, request, context)
        except Exception as error:
            # the library wraps what was raised into an Exception whose text holds the stack
            if isinstance(error.__context__, UserError):
                await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error.__context__))
            raise

    setattr(_Servicer, name, method)


async def _reply(call: Any) -> Any:
    return await call  # the stubs type an asynchronous call as its answer


async def _abort(context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, text: str) -> None:
    await context.abort(code, text)


for _name in _METHODS:
    _one_line(_name)


async def _serve(engine_address: str) -> None:
    async with grpc.aio.insecure_channel(engine_address, options=_GRPC_CHANNEL_OPTIONS) as channel:
        provider = LocalProvider(
            engine_pb2_grpc.EngineStub(channel), {handler.pulumi_type: handler for handler in HANDLERS}
        )
        server = grpc.aio.server(options=_GRPC_CHANNEL_OPTIONS)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(
            _Servicer(sys.argv[1:], VERSION, provider, engine_address=engine_address), server
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)  # noqa: T201 - the engine reads the port from the first line
        await _engine_gone(channel)
        # An engine that was killed says no farewell. Whatever this provider has started for it must not outlive it.
        await provider.cancel()
        await server.stop(grace=None)


async def _engine_gone(channel: grpc.aio.Channel) -> None:
    """Returns when the engine can no longer be reached."""
    await channel.channel_ready()
    state = channel.get_state()
    while state in {grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING}:
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)


def main() -> None:
    """Serve the engine whose address is the first argument, until it is gone."""
    if len(sys.argv) < 2:
        sys.exit("error: no engine address; the Pulumi engine starts this command, for resources of package isthmus")
    try:
        asyncio.run(_serve(sys.argv[1]))
    finally:
        sys.stdout.flush()
        os._exit(0)  # gRPC's threads would keep a provider without an engine alive
