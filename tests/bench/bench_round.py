"""A round taken apart, beside a plain copy of the same memory in the same run. Asserts no time.

Prints tables and merges them into `.state/bench/round.json`: every figure, and `bars`. Sizes end at 500 M parameters, or
where they would take more than a half of the free memory; `ISTHMUS_BENCH_PARAMETERS=1e8` ends them earlier. Rows are chosen
as tests are: `make bench BENCH=round BENCH_ARGS="-k 'against_parameters and 200M'"`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tests.kit.ports import free_ports
from tests.workloads.sync.cohort import HANG_S, RUN, make_exchange, ports_of, together
from tests.workloads.sync.turns import make_synchronizer
from workloads.sync.fragments import fragment_slices
from workloads.sync.frame import Frame
from workloads.sync.outer import OuterOptimizer, rebase
from workloads.sync.payload import SLAB, UpdateFormat
from workloads.sync.quantise import accumulate, quantise
from workloads.sync.residual import Residual

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".state" / "bench" / "round.json"
MOST = float(os.environ.get("ISTHMUS_BENCH_PARAMETERS", "5e8"))
VALUES = 10_000_000
REPEATS = 7
BITS = (2, 4, 8)
SIZES = (1_000_000, 10_000_000, 100_000_000, 200_000_000, 500_000_000)
ARRAYS = 3.5  # of a size at once, with slack
ARRAYS_OF_TWO_SITES = 2 * 5.5  # model, local and what the synchronizer may have
EXTRA_MEMORY = 3.0  # times the parameters in fp32, at most
PLANNED_FRAGMENTS = 8  # of a model whose memory matters
TRAINING_THREAD_COPIES = 6.0  # what begin and merge may take of the training thread, in plain copies of the parameters


def best_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Least of several times, the machine being shared."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def millions(size: int) -> str:
    return f"{size / 1e6:g}M"


def ensure_memory(size: int, arrays: float) -> None:
    """Skip what would take more than a half of the free memory, or was not asked for, and say so in a line."""
    if size > MOST:
        pytest.skip(f"{millions(size)} parameters: more than ISTHMUS_BENCH_PARAMETERS={MOST:g}")
    needed, free = 4 * size * arrays, psutil.virtual_memory().available
    if needed > free / 2:
        pytest.skip(
            f"{millions(size)} parameters: needs {needed / 1e9:.1f} GB, and a half of {free / 1e9:.1f} GB is free"
        )


def rate(size: int, seconds: float, copy_s: float) -> dict[str, float]:
    return {"ms": seconds * 1e3, "gb_per_s": 4 * size / seconds / 1e9, "copies": seconds / copy_s}


@pytest.fixture(scope="module")
def results(request):
    """Figures by table, written when all are there; those of chosen rows are merged into those of earlier runs."""
    figures: dict[str, object] = {"bars": {}}
    torch.set_num_threads(1)
    yield figures
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    is_whole = not request.config.getoption("keyword")
    known = {} if is_whole or not RESULTS.exists() else json.loads(RESULTS.read_text(encoding="utf-8"))
    merged = {**known, **{table: {**known.get(table, {}), **rows} for table, rows in figures.items()}}
    RESULTS.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")
    table = Table("bar", "value", "must be", "", title="bars")
    for name, bar in figures["bars"].items():
        table.add_row(name, f"{bar['value']:.4g}", f"{bar['bar']:.4g}", "ok" if bar["ok"] else "MISSED")
    Console().print(table)


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    table = Table("", *next(iter(rows.values())), title=title)
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.3g}" for value in row.values()))
    Console().print(table)


def at_most(results: dict, name: str, value: float, bar: float) -> None:
    results["bars"][name] = {"value": value, "bar": bar, "ok": value <= bar}


def model_of(size: int) -> list[Tensor]:
    """Parameters as a transformer has them: matrices of a million values, and vectors."""
    return [*torch.randn(size - size // 100).split(1 << 20), *torch.randn(size // 100).split(1 << 10)]


def fetch_s(frame: Frame) -> float:
    """How long a frame takes from `publish` to the other site's `collect`, over loopback."""
    ports = ports_of("aws-1", "os-1")
    with (
        make_exchange("aws-1", ports, max_frame_bytes=1 << 30) as receiver,
        make_exchange("os-1", ports, max_frame_bytes=1 << 30) as sender,
    ):
        receiver.follow(lambda _: frame.header.format, 1)
        receiver.publish(frame_of(frame, "aws-1"))  # so that both have begun
        start = time.perf_counter()
        sender.publish(frame)
        assert receiver.collect(1, HANG_S) is not None
        return time.perf_counter() - start


def step_in_slabs(outer: OuterOptimizer, update: Tensor) -> None:
    for number, part in enumerate(update.split(SLAB)):
        outer.step(part, slice(number * SLAB, number * SLAB + part.numel()), 0.7, 0.6)


def frame_of(frame: Frame, site: str) -> Frame:
    return Frame.of(frame.update, run_id=RUN, site=site, round_number=1, samples=1, history="0" * 64)


@pytest.mark.parametrize("bits", BITS)
def test_the_parts_of_a_round(results, bits):
    parameters = model_of(VALUES)
    source, flat, total = torch.randn(VALUES), torch.empty(VALUES), torch.zeros(VALUES)
    copy_s = best_s(lambda: flat.copy_(source))
    residual, form = Residual(VALUES, torch.float32), UpdateFormat(VALUES, torch.float32, bits)
    update = quantise(source, bits)
    frame = Frame.of(update, run_id=RUN, site="os-1", round_number=1, samples=1, history="0" * 64)
    outer = OuterOptimizer(torch.zeros(VALUES), has_momentum=True)
    whole = slice(0, VALUES)
    parts: dict[str, Callable[[], object]] = {
        "copy": lambda: flat.copy_(source),
        "flatten": lambda: torch.cat(parameters, out=flat),
        "quantise, residual kept": lambda: residual.send(form, whole, source, total),
        "dequantise, weighted, added": lambda: accumulate(total, update, 0.5),
        "outer step": lambda: step_in_slabs(outer, flat),
        "dequantise two and step": lambda: outer.merge([(update, 1), (update, 1)], whole, 0.7, 0.6),
        "merge into local": lambda: rebase(flat, source, outer.parameters),
    }
    rows = {name: rate(VALUES, best_s(work), copy_s) for name, work in parts.items()}
    rows["send, loopback"] = rate(VALUES, min(fetch_s(frame) for _ in range(3)), copy_s)
    show(f"{VALUES / 1e6:g} M values at {bits} bits, one thread", rows)
    results[f"parts at {bits} bits"] = rows
    cost = 8 * UpdateFormat(1 << 24, torch.float32, bits).payload_bytes / (1 << 24)
    at_most(results, f"bits a value on the link at {bits} bits", cost, bits + 16 / 256)
    assert torch.isfinite(total).all()


def copy_and_quantise_s(size: int, repeats: int) -> tuple[float, float]:
    source, flat = torch.randn(size), torch.zeros(size)
    copy_s = best_s(lambda: flat.copy_(source), repeats)
    residual, form = Residual(size, torch.float32), UpdateFormat(size, torch.float32, 4)
    return copy_s, best_s(lambda: residual.send(form, slice(0, size), source, flat), repeats)


def merge_of_two_s(size: int, repeats: int) -> float:
    parameters = torch.randn(size)
    update, outer = quantise(parameters, 4), OuterOptimizer(parameters, has_momentum=True)
    del parameters
    return best_s(lambda: outer.merge([(update, 1), (update, 1)], slice(0, size), 0.7, 0.6), repeats)


@pytest.mark.parametrize("size", SIZES, ids=millions)
def test_cost_against_parameters(results, size):
    """One part after the other, each with arrays of its own alone: of 500 M parameters, three take 6 GB."""
    ensure_memory(size, ARRAYS)
    repeats = 3 if size > 10_000_000 else REPEATS
    copy_s, quantise_s = copy_and_quantise_s(size, repeats)
    merge_s = merge_of_two_s(size, repeats)
    rows = results.setdefault("against parameters", {})
    rows[f"{millions(size)} parameters"] = {
        "copy_gb_per_s": 4 * size / copy_s / 1e9,
        "quantise_ms": quantise_s * 1e3,
        "quantise_gb_per_s": 4 * size / quantise_s / 1e9,
        "merge_ms": merge_s * 1e3,
        "merge_gb_per_s": 4 * size / merge_s / 1e9,
    }
    show("cost against parameters, 4 bits, two sites, one thread", rows)


def test_cost_against_sites(results):
    rows = {}
    size = 1_000_000
    for count in (2, 4, 6, 8):
        outer = OuterOptimizer(torch.zeros(VALUES), has_momentum=True)
        update = quantise(torch.randn(VALUES), 4)
        merge = lambda outer=outer, update=update, count=count: outer.merge(  # noqa: E731
            [(update, 1)] * count, slice(0, VALUES), 0.7, 0.6
        )
        rows[f"{count} sites"] = {
            "merge_ms": best_s(merge) * 1e3,
            "merge_gb_per_s": 4 * VALUES / best_s(merge) / 1e9,
            "round_ms": whole_round_s(count, size) * 1e3,
        }
    show(
        f"cost against sites, 4 bits: merge of {VALUES / 1e6:g} M; rounds of all sites, {size / 1e6:g} M, loopback",
        rows,
    )
    results["against sites"] = rows


def whole_round_s(count: int, size: int) -> float:
    """A round of so many sites, all in this process, from the first `begin` to the last `merge`."""
    ports = ports_of(*(f"site-{number}" for number in range(count)))
    with ExitStack() as stack:
        exchanges = [stack.enter_context(make_exchange(site, ports)) for site in ports]
        rounds = [make_synchronizer(exchange, ports, torch.zeros(size), bits=4) for exchange in exchanges]
        local = [torch.randn(size) for _ in ports]

        def run(index: int, number: int) -> None:
            rounds[index].begin(local[index], number)
            assert rounds[index].arrived(HANG_S)
            rounds[index].commit()
            rounds[index].merge(local[index])

        def all_of(number: int) -> float:
            start = time.perf_counter()
            together(*[lambda index=index: run(index, number) for index in range(count)])
            return time.perf_counter() - start

        seconds = min(all_of(number) for number in range(1, 5))
        for exchange in exchanges:
            assert exchange.drain(HANG_S)
        return seconds


def test_what_a_turn_takes_of_the_training_thread(results):
    rows = {}
    local, target = torch.randn(VALUES), torch.empty(VALUES)
    copy_s = best_s(lambda: target.copy_(local))
    for fragments in (1, 4):
        ports = ports_of("aws-1", "os-1")
        exchanges = [make_exchange(site, ports, fragments=fragments, max_frame_bytes=1 << 30) for site in ports]
        taken = []
        with exchanges[0], exchanges[1]:
            ours, theirs = (make_synchronizer(exchange, ports, torch.zeros(VALUES), bits=4) for exchange in exchanges)
            for number in range(1, 5):
                seconds = 0.0
                for where in fragment_slices(VALUES, fragments):
                    theirs.begin(local[where], number)
                    start = time.perf_counter()
                    ours.begin(local[where], number)
                    seconds += time.perf_counter() - start
                    for rounds in (theirs, ours):
                        assert rounds.arrived(HANG_S)
                        rounds.commit()
                    mine = local[where].clone()
                    start = time.perf_counter()
                    ours.merge(mine)
                    seconds += time.perf_counter() - start
                taken.append(seconds)
            for exchange in exchanges:
                assert exchange.drain(HANG_S)
        rows[f"{fragments} fragments"] = rate(VALUES, min(taken), copy_s)
        at_most(
            results, f"begin and merge, {fragments} fragments, in copies", min(taken) / copy_s, TRAINING_THREAD_COPIES
        )
    show(f"begin and merge of a round on the training thread, {VALUES / 1e6:g} M values", rows)
    results["on the training thread"] = rows


def extra_memory(size: int, bits: int, fragments: int, momentum: float) -> float:
    """Peak of one of two sites, each a process of its own, in multiples of the parameters in fp32."""
    ports = dict(zip(("aws-1", "os-1"), free_ports(2), strict=True))
    settings = [json.dumps(ports), str(size), str(bits), str(fragments), str(momentum)]
    script = str(Path(__file__).with_name("round_memory.py"))
    sites = [
        subprocess.Popen(
            [sys.executable, script, site, *settings],
            env={**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "1048576"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for site in ports
    ]
    return max(float(site.communicate()[0]) for site in sites)


@pytest.mark.parametrize("size", [20_000_000, 200_000_000, 500_000_000], ids=millions)
def test_extra_memory(results, size):
    """In as many fragments as the planner chooses for a model of this size; in fewer, for comparison."""
    ensure_memory(size, ARRAYS_OF_TWO_SITES)
    settings = [(0.6, PLANNED_FRAGMENTS, 4)]
    if size == 20_000_000:
        settings += [(0.6, 1, 4), (0.6, 4, 4), (0.6, 8, 2), (0.6, 8, 8), (0.0, 8, 4)]
    rows = results.setdefault("extra memory", {})
    for momentum, fragments, bits in settings:
        name = (
            f"{millions(size)} parameters, {fragments} fragments, {'with' if momentum else 'no'} momentum, {bits} bits"
        )
        taken = extra_memory(size, bits, fragments, momentum)
        rows[name] = {"parameters": taken}
        if fragments == PLANNED_FRAGMENTS:
            at_most(results, f"extra memory, {name}", taken, EXTRA_MEMORY)
    show("peak extra memory, in multiples of the parameters in fp32", rows)
