"""The whole Pulumi program under mocks that are as strict as an engine with real providers."""

import asyncio
import gc
import json
import os
import runpy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pulumi
import yaml

from infra.local.handler import Context, Handler
from infra.local.handlers import HANDLERS
from infra.local.values import plain_map, prop_map
from infra.settings import PROJECT, ROOT

# What the mocked provider gives back beside a resource's inputs.
LOCAL_OUTPUTS: dict[str, dict[str, Any]] = {
    "isthmus:local:SiteAuthority": {
        "fingerprint": "f" * 64,
        "expires": "2030-01-01",
        "private_files": {"a/key.pem": "K"},
    },
    "isthmus:local:DataShard": {"data_digest": "d" * 64, "samples": 60, "held_out_samples": 15},
    "isthmus:local:Link": {"rate_mbps": 98.5, "rtt_ms": 30.4},
    "isthmus:local:TrainingRun": {
        "run_id": "iris-0123456789",
        "model": "/runs/iris-0123456789/trained",
        "manifest_digest": "a" * 64,
        "metrics": {"accuracy": 0.97},
        "samples": 7200,
        "link_bytes": 1000,
        "ddp_link_bytes": 400_000,
    },
    "isthmus:local:CompressedModel": {
        "model": "/runs/x/compressed/model",
        "manifest_digest": "b" * 64,
        "before": 0.97,
        "after": 0.96,
    },
    "isthmus:local:ModelVersion": {"version": "1", "page": "http://127.0.0.1:1/#/models", "model_digest": "c" * 64},
    "isthmus:local:Report": {"page": "/runs/x/report.html", "page_digest": "e" * 64},
}
SITE_FACTS: dict[str, Any] = {
    "threads": 1,
    "memory_bytes": 1 << 32,
    "flops": 5e10,
    "bf16_flops": 8e10,
    "copy_bytes_s": 2e10,
    "operation_s": 1e-5,
}
_HANDLERS = {handler.pulumi_type: handler for handler in HANDLERS}


@dataclass(frozen=True)
class Registered:
    """One resource as the program declared it."""

    type: str
    name: str
    inputs: dict[str, Any]
    provider: str
    custom: bool


@dataclass
class StrictMocks(pulumi.runtime.Mocks):
    """Refuses what an engine would refuse: a duplicate name of a type, an unknown function, an input that does not fit."""

    resources: list[Registered] = field(default_factory=list)
    kept_plan: dict[str, Any] | None = None  # of a run that was begun by an earlier `up`
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)  # by type, in place of the usual ones

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if any((known.type, known.name) == (args.typ, args.name) for known in self.resources):
            raise AssertionError(f"duplicate resource {args.typ} {args.name}")
        if handler := _HANDLERS.get(args.typ):
            faults = handler.faults(dict(args.inputs))
            required = {key for key, value in handler.inputs.model_fields.items() if value.is_required()}
            missing = required - args.inputs.keys()
            if faults or missing:
                raise AssertionError(f"{args.typ} {args.name}: {faults or f'missing inputs {missing}'}")
        elif args.custom and not args.typ.startswith("pulumi:providers:"):
            raise AssertionError(f"{args.typ} {args.name}: no provider of this program has this type")
        self.resources.append(
            Registered(args.typ, args.name, dict(args.inputs), args.provider or "", bool(args.custom))
        )
        return f"{args.name}-id", {**args.inputs, **self._outputs(args.typ, dict(args.inputs)), "status": "ok"}

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"the program calls an unknown function {args.token}")

    def _outputs(self, kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """What the mocked provider makes of a resource, as the real one would of these inputs."""
        outputs = {**LOCAL_OUTPUTS.get(kind, {}), **self.outputs.get(kind, {})}
        if kind == "isthmus:local:Site":
            outputs["facts"] = {"name": inputs["name"], "workers": inputs["workers"], **SITE_FACTS}
        if kind == "isthmus:local:TrainingRun":
            outputs["plan"] = self.kept_plan or inputs["launch"]["plan"]
        return outputs


@dataclass
class RunningMocks(StrictMocks):
    """As strict, but what the program declares is really made, by the same handlers that the provider uses."""

    made: list[tuple[Handler[Any], Any, dict[str, Any]]] = field(default_factory=list)

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        identifier, outputs = super().new_resource(args)
        if handler := _HANDLERS.get(args.typ):
            inputs = handler.parse(plain_map(prop_map(args.inputs)))
            context = Context(args.name, lambda _: None, lambda _: None)
            with ThreadPoolExecutor(1) as other_loop:
                made = other_loop.submit(asyncio.run, handler.create(inputs, context)).result()
            self.made.append((handler, inputs, made))
            outputs = {**args.inputs, **made}
        return identifier, outputs

    def destroy(self) -> None:
        """Delete everything in the opposite order."""
        while self.made:
            handler, inputs, state = self.made.pop()
            asyncio.run(handler.delete(inputs, state))


@dataclass(frozen=True)
class Program:
    """What a run of the program declared and exported."""

    resources: tuple[Registered, ...]
    exports: dict[str, Any]

    def of_type(self, kind: str) -> list[Registered]:
        return sorted((r for r in self.resources if r.type == kind), key=lambda resource: resource.name)

    def one(self, kind: str) -> Registered:
        (resource,) = self.of_type(kind)
        return resource


def run_program(config: dict[str, Any], stack: str = "local", mocks: StrictMocks | None = None) -> Program:
    """Run the real `infra/__main__.py` with a stack's `config:` mapping."""
    mocks = mocks or StrictMocks()
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    exports: dict[str, Any] = {}

    @pulumi.runtime.test
    def run() -> Any:
        with mock.patch.object(pulumi, "export", exports.__setitem__):
            runpy.run_path(str(ROOT / "infra"), run_name="__main__")
        return pulumi.Output.from_input(exports).apply(exports.update)

    with event_loops(), mock.patch.dict(os.environ, {"PULUMI_CONFIG": json.dumps(values)}):
        pulumi.runtime.set_mocks(mocks, PROJECT, stack, preview=False)
        try:
            run()
        finally:
            gc.unfreeze()  # unlike the program, this process goes on
    return Program(tuple(mocks.resources), exports)


@contextmanager
def event_loops() -> Iterator[None]:
    """Closes the loops that the SDK's mocks open, one a thread, and leave open."""
    opened: list[asyncio.AbstractEventLoop] = []
    new_event_loop = asyncio.new_event_loop

    def remember() -> asyncio.AbstractEventLoop:
        opened.append(new_event_loop())
        # what a program raises is raised to its test; the futures that held it as well would be told of when they are
        # collected, at any later time, and telling parses source: inside another parse Python 3.11 does not bear that
        opened[-1].set_exception_handler(lambda *_: None)
        return opened[-1]

    with mock.patch.object(asyncio, "new_event_loop", remember):
        asyncio.set_event_loop(remember())
        try:
            yield
        finally:
            asyncio.set_event_loop(None)
            for loop in opened:
                loop.close()


def stack_config(stack: str) -> dict[str, Any]:
    """The `config:` mapping of a real stack file."""
    document = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    return dict(document["config"])


def stack_files() -> list[Path]:
    return sorted((ROOT / "stacks").glob("Pulumi.*.yaml"))
