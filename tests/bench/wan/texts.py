"""Plain text that is on every machine: the source of Python's standard library, dealt out by file."""

import hashlib
import sysconfig
from pathlib import Path

import torch
from torch import Tensor

_HELD_OUT = 10  # one file in so many
_SHARE_BYTES = 4 << 20


def library_text(part: str) -> Tensor:
    """Bytes [count], as uint8, of the files that fall to `part`: `east`, `west` or `validation`; the same every time."""
    root = Path(sysconfig.get_path("stdlib"))
    text = bytearray()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if "site-packages" not in name and _part(name) == part:
            text += path.read_bytes()
            if len(text) >= _SHARE_BYTES:
                break
    return torch.frombuffer(text[:_SHARE_BYTES], dtype=torch.uint8)


def windows(text: Tensor, count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets [count, length] from places in `text` that `seed` decides."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, text.numel() - length, (count, 1), generator=generator)
    picked = text[starts + torch.arange(length + 1)].long()
    return picked[:, :-1], picked[:, 1:]


def _part(name: str) -> str:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    if number % _HELD_OUT == 0:
        return "validation"
    return ("east", "west")[number // _HELD_OUT % 2]
