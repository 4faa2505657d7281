"""How a site that comes back gets the outer state of the others: safetensors over the same channel, never pickle.

The bytes are announced with their size and checksum, travel in chunks, and are looked into only when they are whole.
"""

import hashlib
from collections.abc import Iterator, Mapping

import safetensors.torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from workloads.spec.errors import explain
from workloads.sync.frame import RefusedError
from workloads.sync.wire import CHUNK_BYTES, Greeting, HealHeader

_STATE_OVER_PARAMETERS = 3  # parameters, momentum, and to spare
_HEADERS_BYTES = 1 << 20  # names and shapes of safetensors, histories


def healing_limit(parameter_bytes: int) -> int:
    """The most bytes that the outer state of so many bytes of parameters may have."""
    return _STATE_OVER_PARAMETERS * parameter_bytes + _HEADERS_BYTES


class HealingState:
    """The outer state that `turn` begins with, ready to be sent. `tensors` are as `Synchronizer.heal_state` gives them."""

    def __init__(self, tensors: Mapping[str, Tensor], *, run_id: str, site: str, part: int, turn: int) -> None:
        self._payload = memoryview(safetensors.torch.save(dict(tensors)))
        self.header = HealHeader(
            run_id=run_id,
            site=site,
            part=part,
            turn=turn,
            payload_bytes=len(self._payload),
            checksum=hashlib.sha256(self._payload).hexdigest(),
        )

    def messages(self, offset: int) -> Iterator[bytes]:
        """Header and chunks, from byte `offset` of the payload on."""
        yield self.header.model_dump_json().encode()
        for start in range(offset, len(self._payload), CHUNK_BYTES):
            yield bytes(self._payload[start : start + CHUNK_BYTES])


class HealingAssembly:
    """An outer state in the making; after a broken link the next attempt goes on where this one ended."""

    def __init__(self, caller: Greeting, site: str, turn: int, limit: int) -> None:
        self._wanted = {"run_id": caller.run_id, "site": site, "part": caller.part, "turn": turn}
        self._limit = limit
        self._header: HealHeader | None = None
        self._payload = bytearray()

    @property
    def received(self) -> int:
        """Bytes of the payload so far."""
        return len(self._payload)

    def open(self, encoded: bytes) -> None:
        """Take the header. Raises `RefusedError`."""
        try:
            header = HealHeader.model_validate_json(encoded)
        except ValidationError as error:
            raise RefusedError("malformed", explain(error, "header of an outer state")) from None
        if header.run_id != self._wanted["run_id"]:
            raise RefusedError("foreign-run", f"{header.run_id}, expected {self._wanted['run_id']}")
        found = {name: getattr(header, name) for name in self._wanted}
        if found != self._wanted:
            raise RefusedError("wrong-site", f"an outer state of {found}, expected {self._wanted}")
        if header.payload_bytes > self._limit:
            raise RefusedError("oversized", f"an outer state of {header.payload_bytes} bytes, at most {self._limit}")
        if self._header is not None and header != self._header:
            raise RefusedError("torn", "the outer state changed while it was being fetched")
        self._header = header

    def feed(self, chunk: bytes) -> None:
        """Take the next piece. Raises `RefusedError`."""
        if self._header is None or len(self._payload) + len(chunk) > self._header.payload_bytes:
            raise RefusedError("oversized", "more bytes of an outer state than its header says")
        self._payload += chunk

    def close(self) -> dict[str, Tensor]:
        """The whole state. Raises `RefusedError`."""
        if self._header is None or len(self._payload) < self._header.payload_bytes:
            raise RefusedError("torn", f"{len(self._payload)} bytes of an outer state, fewer than its header says")
        if hashlib.sha256(self._payload).hexdigest() != self._header.checksum:
            raise RefusedError("bad-checksum", f"the outer state of turn {self._header.turn} was changed on its way")
        try:
            return safetensors.torch.load(bytes(self._payload))
        except SafetensorError as error:
            raise RefusedError("malformed", f"an outer state that is not safetensors: {error}") from None
