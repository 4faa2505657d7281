"""The engine's protocol for resource providers, over plain values: what a stand-in in Python is served by.

The engine starts a plugin with its own address, reads the port that it listens on from the first line, and asks it in
parallel. Secrets come opened: the engine keeps what an input marked as a secret, and what the SDK says is one, secret
in the state by itself.
"""

import json
import os
import secrets
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, empty_pb2, json_format, struct_pb2
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from tests.lab.providers.bridge import sdk_version
from tests.lab.providers.contract import LIMIT_S, Ask, Difference, HalfMadeError, Standin, Values

_WORKERS, _LOOK_S = 32, 1
_SIGNATURE = "4dabf18193072939515e22adb298388d"  # marks a value with a meaning of its own, Pulumi's `sigKey`


def plain(message: struct_pb2.Struct) -> Values:
    """JSON values of a message: secrets opened, whole numbers as `int`."""
    opened: Values = _open(json_format.MessageToDict(message))
    return opened


def _open(value: Any) -> Any:
    if isinstance(value, dict):
        return _open(value.get("value")) if _SIGNATURE in value else {key: _open(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_open(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def struct(values: Values) -> struct_pb2.Struct:
    return json_format.ParseDict(values, struct_pb2.Struct())


class _Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Requests to `Ask`s and back."""

    def __init__(self, standin: Standin) -> None:
        self.standin, self.version = standin, sdk_version(standin.package)

    def handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse()

    def get_plugin_info(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=self.version)

    def get_schema(self, request: Any, context: Any) -> Any:
        schema = {"name": self.standin.package, "version": self.version}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    def check_config(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def diff_config(self, request: Any, context: Any) -> Any:
        """A provider is never replaced: its resources would be with it, and the lab has one of each cloud."""
        old, new = plain(request.old_inputs), plain(request.news)
        return _difference(Difference(tuple(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))))

    def configure(self, request: Any, context: Any) -> Any:
        self.standin.configure(plain(request.args))
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def check(self, request: Any, context: Any) -> Any:
        seed = request.randomSeed.hex() or secrets.token_hex(8)
        inputs, faults = self.standin.check(
            Ask(request.urn, old=plain(request.olds), new=plain(request.news), seed=seed)
        )
        failures = [provider_pb2.CheckFailure(property=key, reason=why) for key, why in faults.items()]
        return provider_pb2.CheckResponse(inputs=struct(inputs), failures=failures)

    def diff(self, request: Any, context: Any) -> Any:
        old, new, state = plain(request.old_inputs), plain(request.news), plain(request.olds)
        ask = Ask(request.urn, request.id, old, new, state, ignored=tuple(request.ignoreChanges))
        return _difference(self.standin.diff(ask))

    def create(self, request: Any, context: Any) -> Any:
        limit = request.timeout or LIMIT_S
        ask = Ask(request.urn, new=plain(request.properties), preview=request.preview, limit_s=limit)
        identity, state = self.standin.create(ask)
        return provider_pb2.CreateResponse(id=identity, properties=struct(state))

    def read(self, request: Any, context: Any) -> Any:
        ask = Ask(request.urn, request.id, old=plain(request.inputs), state=plain(request.properties))
        found = self.standin.read(ask)
        if found is None:
            return provider_pb2.ReadResponse()
        state, inputs = found
        return provider_pb2.ReadResponse(id=request.id, properties=struct(state), inputs=struct(inputs))

    def update(self, request: Any, context: Any) -> Any:
        old, new, state = plain(request.old_inputs), plain(request.news), plain(request.olds)
        limit = request.timeout or LIMIT_S
        ignored = tuple(request.ignoreChanges)
        ask = Ask(request.urn, request.id, old, new, state, request.preview, limit, ignored=ignored)
        return provider_pb2.UpdateResponse(properties=struct(self.standin.update(ask)))

    def delete(self, request: Any, context: Any) -> Any:
        state, limit = plain(request.properties), request.timeout or LIMIT_S
        self.standin.delete(Ask(request.urn, request.id, old=plain(request.old_inputs), state=state, limit_s=limit))
        return empty_pb2.Empty()

    def invoke(self, request: Any, context: Any) -> Any:
        found = self.standin.invoke(request.tok, plain(request.args))
        return provider_pb2.InvokeResponse(**{"return": struct(found)})

    def cancel(self, request: Any, context: Any) -> Any:
        self.standin.cancel()
        return empty_pb2.Empty()


def _difference(found: Difference) -> Any:
    some, none = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
    return provider_pb2.DiffResponse(
        changes=some if found.changed else none,
        diffs=found.changed,
        replaces=found.replace,
        deleteBeforeReplace=found.delete_first,
    )


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Errors as the engine shows them: a user's in one line, a half-made resource with its id, a bug with its place."""

    def answer(self: _Servicer, request: Any, context: Any) -> Any:
        try:
            return method(self, request, context)
        except HalfMadeError as error:
            text = _text(self.standin, error.cause)
            _abort(context, text, _half_made(error, text))
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine must hear of it
            _abort(context, _text(self.standin, error))

    return answer


_METHODS = {
    "Cancel": _Servicer.cancel,
    "Check": _Servicer.check,
    "CheckConfig": _Servicer.check_config,
    "Configure": _Servicer.configure,
    "Create": _Servicer.create,
    "Delete": _Servicer.delete,
    "Diff": _Servicer.diff,
    "DiffConfig": _Servicer.diff_config,
    "GetPluginInfo": _Servicer.get_plugin_info,
    "GetSchema": _Servicer.get_schema,
    "Handshake": _Servicer.handshake,
    "Invoke": _Servicer.invoke,
    "Read": _Servicer.read,
    "Update": _Servicer.update,
}

for _name, _method in _METHODS.items():
    setattr(_Servicer, _name, _guarded(_method))


def _text(standin: Standin, error: Exception) -> str:
    trace = "".join(traceback.format_exception(error)[-3:]).strip()
    return standin.explain(error) or f"stand-in {standin.package}: {trace}"


def _half_made(error: HalfMadeError, text: str) -> any_pb2.Any:
    detail = any_pb2.Any()
    failed = provider_pb2.ErrorResourceInitFailed(
        id=error.identity, properties=struct(error.state), reasons=[text], inputs=struct(error.inputs)
    )
    detail.Pack(failed, type_url_prefix="type.googleapis.com")
    return detail


def _abort(context: Any, text: str, *details: any_pb2.Any) -> NoReturn:
    if details:
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=text, details=details)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, text)
    raise AssertionError("abort raises")


def serve(standin: Standin) -> None:
    """Answer the engine that started this process, until it is gone or says so."""
    if len(sys.argv) < 2:
        sys.exit(f"error: no engine address; the Pulumi engine starts this command, for package {standin.package}")
    engine, ended = os.getppid(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # an interrupt at the terminal is the engine's to hear, which then says what is to be done
        signal.signal(number, lambda caught, _: ended.set() if caught == signal.SIGTERM else None)
    server = grpc.server(ThreadPoolExecutor(_WORKERS), options=_GRPC_CHANNEL_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(_Servicer(standin), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)  # noqa: T201 - the engine reads the port from the first line
    while not ended.wait(_LOOK_S) and os.getppid() == engine:
        continue  # an engine that was killed says no farewell
    standin.cancel()  # a thread that waits would keep this process
    server.stop(grace=None)
