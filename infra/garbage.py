"""Python's collector of cycles, kept away from what stays to the end."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def spared() -> Iterator[None]:
    """Nothing of what is imported and declared meanwhile is looked through for garbage, then or later.

    The SDKs are tens of thousands of objects that all stay, and each collection goes through those that are there
    already: for a large stack that was a quarter of the program's processor time. https://docs.python.org/3/library/gc.html#gc.freeze
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
