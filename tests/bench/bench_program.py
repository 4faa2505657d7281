"""What the whole program of each cloud stack costs under mocks: `make bench BENCH=program`.

Each runs in a process of its own, first without bytecode of what it imports, as the first command after an installation
does, then with it, as every later one. The bars are of the largest stack with bytecode.
"""

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.kit.program import stack_config, stack_files
from tests.kit.program_cost import SDKS, Cost, measured

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / ".state/bench/program.json"
SECONDS, MEGABYTES = 5.0, 400.0
REPEATS = 3
STACKS = [path.name.split(".")[1] for path in stack_files() if "isthmus:cloud" in stack_config(path.name.split(".")[1])]


def test_a_program_is_declared_in_seconds(tmp_path):
    environment = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    first, _ = timed(STACKS[0], environment)
    rows = [figures(stack, environment) for stack in STACKS]
    largest = max(rows, key=lambda row: row["resources"])
    show(rows, first)
    bars = {
        f"processor time of {largest['stack']}, s": bar(largest["processor_s"], SECONDS),
        f"time of {largest['stack']}, s": bar(largest["wall_s"], SECONDS),
        f"peak memory of {largest['stack']}, MB": bar(largest["peak_mb"], MEGABYTES),
        "AWS and OpenStack services imported and not used": bar(sum(len(row["unused_of_clouds"]) for row in rows), 0),
    }
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    document = {"first_s": first.processor_s, "stacks": rows, "bars": bars}
    OUTPUT.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def timed(stack: str, environment: dict[str, str]) -> tuple[Cost, float]:
    begin = time.perf_counter()
    cost = measured(stack, environment)
    return cost, time.perf_counter() - begin


def figures(stack: str, environment: dict[str, str]) -> dict[str, Any]:
    """Of the calmest of some runs; memory is that of the run that took the most."""
    runs = [timed(stack, environment) for _ in range(REPEATS + 1)][1:]  # the first writes bytecode
    cost = min((cost for cost, _ in runs), key=lambda cost: cost.processor_s)
    idle = sorted(set(cost.services) - cost.used)
    return {
        "stack": stack,
        "resources": cost.resources,
        "by_type": dict(sorted(cost.types.items())),
        "by_package": by_package(cost),
        "processor_s": round(cost.processor_s, 3),
        "wall_s": round(min(wall for _, wall in runs), 3),
        "peak_mb": round(max(cost.peak_mb for cost, _ in runs), 1),
        "modules": cost.modules,
        "services": cost.services,
        "unused": idle,
        "unused_of_clouds": [name for name in idle if name.startswith(("pulumi_aws.", "pulumi_openstack."))],
    }


def by_package(cost: Cost) -> dict[str, int]:
    """Resources of each provider; `pulumi` are the providers themselves, `isthmus` also groups."""
    counts: dict[str, int] = {}
    for kind, number in cost.types.items():
        package = kind.split(":")[0]
        counts[package] = counts.get(package, 0) + number
    return dict(sorted(counts.items()))


def bar(value: float, limit: float) -> dict[str, Any]:
    return {"value": value, "bar": limit, "ok": value <= limit}


def show(rows: list[dict[str, Any]], first: Cost) -> None:
    table = Table(title=f"whole programs under mocks; {first.processor_s:.1f} s where no bytecode is there yet")
    table.add_column("stack")
    for column in ("resources", "processor s", "time s", "peak MB", *(sdk.removeprefix("pulumi_") for sdk in SDKS)):
        table.add_column(column, justify="right")
    for row in rows:
        modules = [str(row["modules"].get(sdk, 0)) for sdk in SDKS]
        cost = [f"{row['processor_s']:.2f}", f"{row['wall_s']:.2f}", f"{row['peak_mb']:.0f}"]
        table.add_row(row["stack"], str(row["resources"]), *cost, *modules)
    console = Console(width=120)
    console.print(table)
    for row in rows:
        console.print(f"{row['stack']}: {', '.join(f'{name} {count}' for name, count in row['by_package'].items())}")
        console.print(f"  imported, with no resource of it: {', '.join(row['unused']) or 'nothing'}")
