"""One stack's whole program in a process of its own, and what it cost: `python -m tests.kit.program_cost STACK`.

Prints JSON. What counts is everything from the interpreter's start: imports, the program, and the mocks with their checks.
"""

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

from infra.garbage import spared
from infra.settings import ROOT, Settings
from tests.kit.program import run_program, stack_config

SDKS = ("pulumi_aws", "pulumi_docker_build", "pulumi_kubernetes", "pulumi_openstack")


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    stack: str
    types: Mapping[str, int]  # how many resources of each
    functions: Sequence[str]  # that were asked
    processor_s: float
    peak_mb: float  # of resident memory, in 10^6 bytes
    modules: Mapping[str, int]  # by SDK, all that are loaded
    services: Sequence[str]  # packages of the SDKs that are loaded, as `pulumi_aws.ec2`

    @property
    def resources(self) -> int:
        return sum(self.types.values())

    @property
    def used(self) -> frozenset[str]:
        """Packages that have a resource type or a function of the stack's."""
        return frozenset(filter(None, map(package_of, [*self.types, *self.functions])))


def measured(stack: str, environment: Mapping[str, str] | None = None) -> Cost:
    """The cost of a stack's program in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, stack],
        cwd=ROOT,
        env={**os.environ, **(environment or {}), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Cost(**told)


def package_of(token: str) -> str | None:
    """The SDK's package of a type or function, as `pulumi_aws.ec2` of `aws:ec2/vpc:Vpc`; None if it has none of its own."""
    package, module, _ = token.split(":")
    name = module.split("/")[0].split(".")[0].lower()
    sdk = f"pulumi_{package.replace('-', '_')}"
    return f"{sdk}.{name}" if sdk in SDKS and name != "index" else None


def loaded() -> tuple[list[str], dict[str, int]]:
    """Packages of services that are loaded, and how many modules by SDK. What is only announced is a lazy module still."""
    names = [name for name, module in sys.modules.items() if type(module) is ModuleType and name.startswith(SDKS)]
    packages = {
        ".".join(name.split(".")[:2]) for name in names if hasattr(sys.modules[name], "__path__") and "." in name
    }
    return sorted(packages), dict(Counter(name.split(".")[0] for name in names))


def _declared(stack: str) -> tuple[Iterable[str], list[str]]:
    """Types of what the program declares, and the functions that it asks."""
    if "isthmus:cloud" not in stack_config(stack):
        return [resource.type for resource in run_program(stack_config(stack), stack).resources], []
    with spared():  # as the program itself does
        from tests.kit import cloud  # noqa: PLC0415 - a local stack must not pay for it, which is looked at

    build = cloud.build_cloud

    def spared_build(settings: Settings, chosen: str) -> dict[str, Any]:
        with spared():
            return build(settings, chosen)

    asked: list[str] = []
    answer: Callable[[Any, Any], dict[str, Any]] = cloud.CloudMocks.call

    def call(mocks: Any, args: Any) -> dict[str, Any]:
        asked.append(args.token)
        return answer(mocks, args)

    with mock.patch.object(cloud.CloudMocks, "call", call), mock.patch.object(cloud, "build_cloud", spared_build):
        return [resource.type for resource in cloud.whole(stack).resources], asked


def main() -> None:
    stack = sys.argv[1]
    types, functions = _declared(stack)
    services, modules = loaded()
    spent = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "stack": stack,
        "types": dict(Counter(types)),
        "functions": sorted(set(functions)),
        "processor_s": spent.ru_utime + spent.ru_stime,
        "peak_mb": spent.ru_maxrss * 1024 / 1e6,
        "modules": modules,
        "services": services,
    }
    print(json.dumps(told))  # noqa: T201 - the interface of a command


if __name__ == "__main__":
    main()
