"""The passes of a round over 10 M values, beside a plain copy of the same memory in the same run. Asserts no time."""

import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from workloads.sync.outer import OuterOptimizer
from workloads.sync.quantise import accumulate, dequantise, quantise

VALUES = 10_000_000
REPEATS = 7


def best_s(work: Callable[[], object]) -> float:
    """Least of several times, the machine being shared."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def test_the_passes_of_a_round():
    torch.set_num_threads(1)
    update, target = torch.randn(VALUES), torch.zeros(VALUES)
    sent = quantise(update, 8)
    outer = OuterOptimizer(torch.zeros(VALUES), 0.7, 0.6)
    passes: dict[str, Callable[[], object]] = {
        "copy (the peer)": lambda: target.copy_(update),
        "quantise to int8": lambda: quantise(update, 8),
        "accumulate, weighted": lambda: accumulate(target, sent, 0.5),
        "dequantise into new memory": lambda: dequantise(sent),
        "Nesterov outer step": lambda: outer.step(update),
    }
    seconds = {name: best_s(work) for name, work in passes.items()}
    table = Table("pass", "ms", "GB/s of fp32", "times the copy", title=f"{VALUES / 1e6:g} M values, one thread")
    for name, taken in seconds.items():
        ratio = taken / seconds["copy (the peer)"]
        table.add_row(name, f"{taken * 1e3:.1f}", f"{VALUES * 4 / taken / 1e9:.2f}", f"{ratio:.1f}")
    Console().print(table)
    assert torch.isfinite(target).all()
