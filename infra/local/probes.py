"""How to tell that a service answers."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

_TIMEOUT_S = 2.0


# Loopback is never behind a proxy, whatever the environment says of one.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _get(url: str) -> bytes | None:
    try:
        with _DIRECT.open(url, timeout=_TIMEOUT_S) as answer:
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


def post_json(url: str, body: Any) -> Any:
    """The JSON that a POST of `body` is answered with. Raises `OSError` if it is not."""
    request = urllib.request.Request(  # noqa: S310 - a loopback address of our own
        url, data=json.dumps(body).encode(), headers={"content-type": "application/json"}
    )
    with _DIRECT.open(request, timeout=_TIMEOUT_S) as answer:
        return json.load(answer)


async def accepts(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _TIMEOUT_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
