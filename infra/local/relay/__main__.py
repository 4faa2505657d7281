"""`python -m infra.local.relay SPEC`: the emulated WAN, until SIGTERM."""

import asyncio
import signal
import sys
from pathlib import Path

from infra.local.relay.control import control
from infra.local.relay.server import Relay
from workloads.spec.errors import UserError, run_command
from workloads.spec.launch import RelaySpec


def main() -> None:
    """Raises `UserError` for a spec that does not fit and a port that is in use."""
    if len(sys.argv) != 2:
        raise UserError(f"usage: python -m infra.local.relay SPEC.json, got {len(sys.argv) - 1} arguments")
    asyncio.run(_serve(RelaySpec.load(Path(sys.argv[1]))))


async def _serve(spec: RelaySpec) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Relay(spec) as relay:
        with control(relay, spec.control):  # last: who sees it answer may use every channel
            sites = " - ".join(sorted({channel.source for channel in spec.channels}))
            say = f"link {sites}: {spec.rate_mbps:g} Mbit/s, {spec.rtt_ms:g} ms round trip, control on {spec.control}"
            print(say, flush=True)  # noqa: T201 - the first line of the log
            await stopped.wait()


if __name__ == "__main__":
    run_command(main)
