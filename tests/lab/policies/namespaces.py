"""The network namespace that a thread is in."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FOLDER: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000  # of <sched.h>
_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(Exception):
    """Why a namespace cannot be entered, in one line."""


def enter(name: str) -> None:
    """Bring this thread, and what it starts from now on, into a namespace that `ip netns` knows.

    Raises:
        NamespaceError: there is none of that name, or this is not root.
    """
    try:
        handle = os.open(_FOLDER / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceError(f"network namespace {name}: {error.strerror}; `ip netns` lists those that are") from None
    try:
        _enter(handle, name)
    finally:
        os.close(handle)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Within, this thread is in the namespace; a socket that is made there stays there. Raises `NamespaceError`."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(name)
        try:
            yield
        finally:
            _enter(home, "of before")
    finally:
        os.close(home)


def _enter(handle: int, name: str) -> None:
    if _libc.setns(handle, _CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno())
        raise NamespaceError(f"network namespace {name}: {reason}; only root may enter one")
