"""Free ports of loopback, below the range from which the kernel gives ports to whoever asks for any.

A port of that range may be gone before the test that was promised it listens: any connection of any process takes one.
"""

import random
import socket

_BELOW_EPHEMERAL = range(10240, 18400)  # Linux gives out 32768 and up; whole stacks have 18400 to 32000
_UNTRIED = random.SystemRandom().sample(_BELOW_EPHEMERAL, len(_BELOW_EPHEMERAL))  # other test runs try another order


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; each is promised once in a test run."""
    return [_next_free() for _ in range(count)]


def free_port() -> int:
    """One of them."""
    return _next_free()


def _next_free() -> int:
    while _UNTRIED:
        port = _UNTRIED.pop()
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise RuntimeError(f"every port of {_BELOW_EPHEMERAL} was promised or is in use")
