"""How to tell that a service answers."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

_TIMEOUT_S = 2.0


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - loopback addresses of our own
            return bytes(answer.read()) if answer.status == 200 else None
    except (urllib.error.URLError, OSError):
        return None


async def answers(url: str) -> bool:
    """Whether a GET of `url` gives 200."""
    return await asyncio.to_thread(_get, url) is not None


async def get_json(url: str) -> Any | None:
    """The JSON that `url` answers with, or None if it does not answer with 200."""
    body = await asyncio.to_thread(_get, url)
    return None if body is None else json.loads(body)


async def accepts(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _TIMEOUT_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
