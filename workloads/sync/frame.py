"""A frame: one site's update of one turn, with all that the receiver needs to trust or refuse it.

On the link a frame is a header, JSON, followed by the raw payload in chunks. Nothing but a quantised update can become
a frame: the format has no place for a batch, a file or any other object, and nothing is ever unpickled.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator
from torch import Tensor

from workloads.spec.base import Frozen, Name, Sha256, SiteName
from workloads.spec.errors import explain
from workloads.spec.plan import Bits
from workloads.sync.fragments import fragment_of, round_of, turn_of
from workloads.sync.payload import Quantised, UpdateFormat
from workloads.sync.quantise import NonFiniteError, ensure_finite

VERSION: Literal[2] = 2
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

Reason = Literal[
    "bad-checksum",
    "certificate",
    "diverged",
    "foreign-run",
    "future-round",
    "malformed",
    "non-finite",
    "oversized",
    "stale-round",
    "stranger",
    "torn",
    "version",
    "wrong-bits",
    "wrong-dtype",
    "wrong-fragment",
    "wrong-shape",
    "wrong-shard",
    "wrong-site",
]


class RefusedError(Exception):
    """Something from a peer was refused, for `reason`; nothing has changed."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason


class FrameHeader(Frozen):
    """What precedes a payload. `history` is the digest of all merges that the update grew from."""

    version: Literal[2] = VERSION
    run_id: Name
    site: SiteName
    round: PositiveInt
    fragment: NonNegativeInt = 0
    fragments: PositiveInt = 1
    shard: NonNegativeInt = 0
    shape: tuple[PositiveInt]
    dtype: Literal["float32", "float64"]
    bits: Bits
    samples: PositiveInt
    payload_bytes: Annotated[int, Field(ge=1)]
    checksum: Sha256
    history: Sha256

    @property
    def turn(self) -> int:
        """Place in the order of all fragments of all rounds, from 1; the round's number if there is one fragment."""
        return turn_of(self.round, self.fragment, self.fragments)

    @property
    def format(self) -> UpdateFormat:
        """The payload's format."""
        return UpdateFormat(self.shape[0], _DTYPES[self.dtype], self.bits)

    @model_validator(mode="after")
    def _fragment_exists(self) -> Self:
        if self.fragment >= self.fragments:
            raise ValueError(f"fragment {self.fragment} of {self.fragments}; they count from 0")
        return self


@dataclass(frozen=True, eq=False)
class Frame:
    """A header and the update that it describes."""

    header: FrameHeader
    update: Quantised

    @classmethod
    def of(
        cls,
        update: Quantised,
        *,
        run_id: str,
        site: str,
        round_number: int,
        samples: int,
        history: str,
        fragment: int = 0,
        fragments: int = 1,
        shard: int = 0,
    ) -> Self:
        """The frame of `update`, of fragment `fragment` of `fragments` and part `shard` of the model.

        Raises:
            TypeError: it is anything but a quantised update.
        """
        if type(update) is not Quantised:
            raise TypeError(f"only an update of the outer state can leave a site, not {type(update).__name__}")
        form = update.format
        header = FrameHeader(
            run_id=run_id,
            site=site,
            round=round_number,
            fragment=fragment,
            fragments=fragments,
            shard=shard,
            shape=(form.size,),
            dtype=_DTYPE_NAMES[form.dtype],
            bits=form.bits,
            samples=samples,
            payload_bytes=form.payload_bytes,
            checksum=hashlib.sha256(update.payload.numpy().data).hexdigest(),
            history=history,
        )
        return cls(header, update)

    @property
    def turn(self) -> int:
        """Place in the order of all fragments of all rounds, from 1."""
        return self.header.turn

    def encoded_header(self) -> bytes:
        """The header as it travels."""
        return self.header.model_dump_json().encode()

    @property
    def payload(self) -> memoryview:
        """The payload as it travels."""
        return self.update.payload.numpy().data


@dataclass(frozen=True)
class Expected:
    """What the next frame of a peer must be; `limit` is the most bytes that a payload may have."""

    run_id: str
    site: str
    turn: int
    format: UpdateFormat
    limit: int
    shard: int = 0
    fragments: int = 1

    def check(self, header: FrameHeader) -> None:
        """Raises `RefusedError` with the first reason why the frame cannot be taken."""
        form = self.format
        round_number, fragment = round_of(self.turn, self.fragments), fragment_of(self.turn, self.fragments)
        found, wanted = f"{header.fragment} of {header.fragments}", f"{fragment} of {self.fragments}"
        mismatches: list[tuple[bool, Reason, object, object]] = [
            (header.run_id != self.run_id, "foreign-run", header.run_id, self.run_id),
            (header.site != self.site, "wrong-site", header.site, self.site),
            (header.round < round_number, "stale-round", header.round, round_number),
            (header.round > round_number, "future-round", header.round, round_number),
            (found != wanted, "wrong-fragment", found, wanted),
            (header.shard != self.shard, "wrong-shard", header.shard, self.shard),
            (header.shape != (form.size,), "wrong-shape", list(header.shape), [form.size]),
            (header.dtype != _DTYPE_NAMES[form.dtype], "wrong-dtype", header.dtype, _DTYPE_NAMES[form.dtype]),
            (header.bits != form.bits, "wrong-bits", header.bits, form.bits),
            (header.payload_bytes > self.limit, "oversized", header.payload_bytes, f"at most {self.limit}"),
            (header.payload_bytes != form.payload_bytes, "torn", header.payload_bytes, form.payload_bytes),
        ]
        for differs, reason, value, limit in mismatches:
            if differs:
                raise RefusedError(reason, f"{value}, expected {limit}")


def parse_header(encoded: bytes) -> FrameHeader:
    """Raises `RefusedError`: the header is of another version or malformed."""
    try:
        document = json.loads(encoded)
    except ValueError:
        raise RefusedError("malformed", "the header is not JSON") from None
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION:
        raise RefusedError("version", f"{version!r}, expected {VERSION}")
    try:
        return FrameHeader.model_validate_json(encoded)
    except ValidationError as error:
        raise RefusedError("malformed", explain(error, "header")) from None


class Assembly:
    """A frame in the making, fed with what arrives; when the link breaks, the next attempt goes on where this one ended."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._header: FrameHeader | None = None
        self._payload = torch.empty(0, dtype=torch.uint8)
        self._hash = hashlib.sha256()
        self.received = 0  # bytes of the payload so far

    def open(self, encoded: bytes) -> None:
        """Take the header. Raises `RefusedError`."""
        header = parse_header(encoded)
        self._expected.check(header)
        if self._header is None:
            self._header = header
            self._payload = torch.empty(header.payload_bytes, dtype=torch.uint8)
        elif header != self._header:
            raise RefusedError("torn", "the frame changed while it was being fetched")

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the payload. Raises `RefusedError`."""
        end = self.received + len(chunk)
        if end > self._payload.numel():
            raise RefusedError("oversized", f"{end} bytes of payload, the header says {self._payload.numel()}")
        self._payload.numpy().data[self.received : end] = chunk
        self._hash.update(chunk)
        self.received = end

    def close(self) -> Frame:
        """The whole frame. Raises `RefusedError`."""
        if self._header is None:
            raise RefusedError("torn", "no header")
        if self.received < self._payload.numel():
            raise RefusedError("torn", f"{self.received} bytes of payload, the header says {self._payload.numel()}")
        if self._hash.hexdigest() != self._header.checksum:
            raise RefusedError("bad-checksum", f"payload of round {self._header.round} was changed on its way")
        update = Quantised(self._header.format, self._payload)
        try:
            ensure_finite(update)
        except NonFiniteError as error:
            raise RefusedError("non-finite", str(error)) from None
        return Frame(self._header, update)


def encode_frame(frame: Frame) -> dict[str, Tensor]:
    """`frame` as two tensors, for a checkpoint: `header` uint8 [bytes] and `payload` uint8 [payload_bytes]."""
    header = torch.frombuffer(bytearray(frame.encoded_header()), dtype=torch.uint8)
    return {"header": header, "payload": frame.update.payload}


def decode_frame(header: Tensor, payload: Tensor) -> Frame:
    """The reverse of `encode_frame`. Raises `RefusedError`: it is not what was encoded."""
    parsed = parse_header(header.numpy().tobytes())
    whole = payload.contiguous()
    if hashlib.sha256(whole.numpy().data).hexdigest() != parsed.checksum:
        raise RefusedError("bad-checksum", f"kept frame of round {parsed.round} was changed")
    return Frame(parsed, Quantised(parsed.format, whole))
