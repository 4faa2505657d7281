"""Text that others wrote, made safe for a Markdown comment. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

MASK: Final = "[secret]"
_VALUE_LIMIT: Final = 120  # characters of a property's value
_TEXT_LIMIT: Final = 1000  # of a message
_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
"""Key of the engine's own wrappers, such as secrets: `sdk/go/common/resource/sig/sig.go` of Pulumi."""
_UNKNOWN: Final = (
    "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
)
"""How the engine writes a text, truth value, number, list or mapping that only the update will know."""
_SECRET_NAMES: Final = re.compile(
    r"password|passwd|secret|(?<!http)token|psk|presharedkey|privatekey|private_pem|payload|userdata|credential|kubeconfig",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bASIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b"
)
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def plain(text: str) -> str:
    """Text in one line that Markdown, HTML and mentions leave as it is."""
    line = _SECRET_TEXT.sub(MASK, " ".join(text.split()))
    if len(line) > _TEXT_LIMIT:
        line = f"{line[:_TEXT_LIMIT]}…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", line).replace("@", "&#64;")


def code(text: str) -> str:
    """A code span of whatever text: its fence is longer than any run of backticks inside."""
    line = " ".join(str(text).split()) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def shown(path: str, value: Any) -> str:
    """A property's value in a code span, cut short; what is or may be a secret is only said to be there."""
    if value is None:
        return "nothing"
    if value in _UNKNOWN:
        return "known after the update"
    if _SECRET_NAMES.search(path):
        return MASK
    text = value if isinstance(value, str) else json.dumps(hidden(value), sort_keys=True)
    text = _SECRET_TEXT.sub(MASK, text)
    return code(text if len(text) <= _VALUE_LIMIT else f"{text[:_VALUE_LIMIT]}…")


def hidden(value: Any) -> Any:
    """A value without its secrets: those that the engine marked, and those whose names say so."""
    if isinstance(value, Mapping):
        if _SIGNATURE in value:
            return MASK
        return {key: MASK if _SECRET_NAMES.search(str(key)) else hidden(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [hidden(entry) for entry in value]
    return value


def cut(lines: Sequence[str], end: str, limit: int) -> str:
    """Lines as far as they fit into `limit` bytes with `end` after them, and how many were left out."""
    whole = "\n".join([*lines, end])
    if len(whole.encode()) <= limit:
        return f"{whole}\n"
    reserve = len(end.encode()) + 80  # for the line that says what was cut
    kept, used = 0, 0
    for line in lines:
        used += len(line.encode()) + 1
        if used > limit - reserve:
            break
        kept += 1
    return "\n".join([*lines[:kept], "", f"… and {len(lines) - kept} more lines.", "", end]) + "\n"
