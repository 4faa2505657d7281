"""A world of processes on loopback that talk by gloo, started once and given one check after another."""

import functools
import multiprocessing
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist

from tests.kit.ports import free_ports
from workloads.trainer import world as worlds

LIMIT_S = 300.0  # for a check that hangs
_GRACE_S = 2.0  # for a process that has nothing left to do


class GlooWorld:
    """`size` processes. A check is a module's function of the rank and of what is given to `run`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._processes: list[ForkServerProcess] = []
        self._pipes: list[Connection] = []

    def run(self, check: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What `check(rank, *arguments)` returns on each rank. What it raises on any is raised here."""
        if not self._processes:
            self._start()
        for pipe in self._pipes:
            pipe.send((check, arguments))
        answers: dict[int, Any] = {}
        while len(answers) < self.size:
            waiting = {pipe: rank for rank, pipe in enumerate(self._pipes) if rank not in answers}
            for pipe in self._await(list(waiting), check.__name__):
                answers[waiting[pipe]] = self._answer(pipe, waiting[pipe])
        return [answers[rank] for rank in range(self.size)]

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(_GRACE_S)
            if process.exitcode is None:
                process.kill()
                process.join()
        self._processes, self._pipes = [], []

    def _start(self) -> None:
        (port,) = free_ports(1)
        for rank in range(self.size):
            ours, theirs = _context().Pipe()
            process = _context().Process(target=_serve, args=(theirs, rank, self.size, port))
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def _await(self, pipes: list[Connection], check: str) -> list[Any]:
        ready = wait(pipes, LIMIT_S)
        if not ready:
            self.close()
            raise TimeoutError(f"{check}: {len(pipes)} ranks did not end within {LIMIT_S} s")
        return ready

    def _answer(self, pipe: Connection, rank: int) -> Any:
        try:
            error, answer = pipe.recv()
        except (EOFError, ConnectionResetError):
            error, answer = "the process ended", None
        if error:
            self.close()  # the others wait for this rank; the next check gets a new world
            raise AssertionError(f"rank {rank}:\n{error}")
        return answer


@contextmanager
def gloo_world(size: int) -> Iterator[GlooWorld]:
    """A world that ends with the block."""
    world = GlooWorld(size)
    try:
        yield world
    finally:
        world.close()


def _serve(pipe: Connection, rank: int, size: int, port: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    # A mesh makes groups, each has threads that wake up ever again, and DTensor's own caches keep it for good: hundreds
    # of them would take a core. So equal meshes are one.
    mock.patch.object(worlds, "init_device_mesh", functools.cache(worlds.init_device_mesh)).start()
    while True:
        try:
            check, arguments = pipe.recv()
        except (EOFError, ConnectionResetError):
            break
        try:
            pipe.send(("", check(rank, *arguments)))
        except Exception:  # noqa: BLE001 - whatever it is, the test says it
            pipe.send((traceback.format_exc(), None))
            return  # the ranks are out of step
    dist.destroy_process_group()


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # loading torch and the models takes seconds: once for all processes
    context.set_forkserver_preload(["tests.workloads.trainer.layouts.checks"])
    return context
