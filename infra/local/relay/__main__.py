"""`python -m infra.local.relay SPEC.json`: be the link until told to end."""

import asyncio
import signal
import sys
from pathlib import Path

from infra.local.relay.control import Control
from infra.local.relay.server import Relay
from workloads.spec.errors import UserError, run_command
from workloads.spec.launch import RelaySpec


async def serve(spec: RelaySpec) -> None:
    """Carry until SIGTERM or SIGINT. Raises `UserError` when a port is in use."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    relay = Relay(spec)
    await relay.start()
    try:
        control = Control(relay, spec.control)
    except OSError as error:
        await relay.close()
        raise UserError(
            f"port {spec.control} for the link's control: {error.strerror}; set isthmus:local.base_port"
        ) from None
    await ending.wait()
    await asyncio.to_thread(control.close)
    await relay.close()


def main() -> None:
    """Raises `UserError` for a wrong call."""
    if len(sys.argv) != 2:
        raise UserError("usage: python -m infra.local.relay SPEC.json")
    asyncio.run(serve(RelaySpec.load(Path(sys.argv[1]))))


if __name__ == "__main__":
    run_command(main)
