"""Passes connections from an address in a network namespace on to this machine's loopback.

usage: python3 -I relay.py NAMESPACE ADDRESS PORT TO_PORT. Standard library alone.
"""

import asyncio
import ctypes
import os
import socket
import sys
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_BLOCK = 1 << 16


def listening(namespace: str, address: str, port: int) -> socket.socket:
    """A socket of the namespace: it stays there, while this process comes back. Raises `OSError`."""
    with Path("/proc/self/ns/net").open("rb") as here, Path("/run/netns", namespace).open("rb") as there:
        _enter(there.fileno())
        try:
            return socket.create_server((address, port), backlog=256)
        finally:
            _enter(here.fileno())


async def serve(listener: socket.socket, to_port: int) -> None:
    """Until cancelled."""

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", to_port)
        except OSError:
            writer.transport.abort()  # as if nobody listened here
            return
        await asyncio.gather(_pump(reader, onward), _pump(onward_reader, writer))
        for end in (writer, onward):
            end.close()

    async with await asyncio.start_server(passed_on, sock=listener) as server:
        await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, to its end; the other may go on. What breaks one end breaks the other."""
    try:
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


if __name__ == "__main__":
    asyncio.run(serve(listening(sys.argv[1], sys.argv[2], int(sys.argv[3])), int(sys.argv[4])))
