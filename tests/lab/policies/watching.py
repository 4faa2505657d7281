"""Objects of one kind, followed through the API: listed once, then watched.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.lab.policies.access import WATCH_S

Raw = Mapping[str, Any]

_log = logging.getLogger(__name__)
_PAUSE_S: Final = 1.0  # before the server is asked again
_BEYOND_WATCH_S: Final = 10


class RelistError(Exception):
    """The server cannot go on from the version that is known: 410 Gone, or it was set up anew."""


@dataclass
class Mirror:
    """Objects at `path` as the server last told them, by namespace and name."""

    path: str
    told: asyncio.Event  # set after every change, of this kind or another, and when the server is lost
    objects: dict[tuple[str, str], Raw] = field(default_factory=dict)
    complete: bool = False  # since the first list
    version: str | None = None  # from which a watch goes on
    away: bool = False  # the server, as far as is known

    async def follow(self, client: httpx.AsyncClient) -> None:
        """Stay up to date for good. While the server is away, what is known stays, and a watch goes on where it was."""
        while True:
            try:
                if self.version is None:
                    await self._list(client)
                await self._watch(client)
            except RelistError as error:
                _log.info("%s: listed anew: %s", self.path, error)
                self.version = None
            except httpx.TransportError as error:
                if not self.away:
                    _log.warning("%s: the API is away, its last word stands: %r", self.path, error)
                    self.away = True
                    self.told.set()
            else:
                continue
            # the pause spares the server; nothing is awaited by it
            await asyncio.sleep(_PAUSE_S)

    async def _list(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(self.path)
        self._reached()
        if answer.is_error:
            raise RelistError(f"{answer.status_code} {answer.text[:200]!r}")
        listed = answer.json()
        self.objects = {_key(item): item for item in listed["items"]}
        self.version = listed["metadata"]["resourceVersion"]
        self.complete = True
        self.told.set()

    async def _watch(self, client: httpx.AsyncClient) -> None:
        """One watch, until the server ends it."""
        asked = {
            "watch": "true",
            "resourceVersion": self.version or "0",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        }
        limits = httpx.Timeout(client.timeout.connect, read=WATCH_S + _BEYOND_WATCH_S)
        async with client.stream("GET", self.path, params=asked, timeout=limits) as answer:
            self._reached()
            if answer.is_error:
                raise RelistError(f"{answer.status_code} {(await answer.aread())[:200]!r}")
            async for event in _events(answer):
                self._take(event["type"], event["object"])

    def _reached(self) -> None:
        if self.away:
            _log.info("%s: the API is back", self.path)
        self.away = False

    def _take(self, kind: str, item: Raw) -> None:
        if kind == "ERROR":
            raise RelistError(f"{item.get('code')} {item.get('message')}")
        self.version = item["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return
        if kind == "DELETED":
            self.objects.pop(_key(item), None)
        else:
            self.objects[_key(item)] = item
        self.told.set()


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line:
            yield json.loads(line)


def _key(item: Raw) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
