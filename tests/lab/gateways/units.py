"""systemd's part: what a unit's file says is run as it says, without its restarts and sandboxes."""

import re
import shlex
from pathlib import Path

from tests.lab.gateways.namespaces import Network


def commands(unit: str, layers: list[Path]) -> list[tuple[str, list[str]]]:
    """`ExecStart` and its like of a unit, in their order, from the first of `layers` that has it."""
    places = [
        layer / folder / f"{unit}.service"
        for layer in layers
        for folder in ("etc/systemd/system", "usr/lib/systemd/system")
    ]
    (text, *_) = [place.read_text(encoding="utf-8") for place in places if place.exists()]
    return [
        (key, shlex.split(value.lstrip("-@:+!")))
        for key, value in re.findall(r"^(Exec\w+|Type|RuntimeDirectory)=(.+)$", text, re.MULTILINE)
    ]


def start(network: Network, unit: str, layers: list[Path]) -> None:
    """Run what starts a unit: to its end where it is a oneshot or forks, else beside us."""
    said = commands(unit, layers)
    kind = {key: value[0] for key, value in said}.get("Type", "simple")
    for key, value in said:
        if key == "RuntimeDirectory":
            network.run("mkdir", "-p", f"/run/{value[0]}")
    for key, value in said:
        if key == "ExecStart" and kind in {"oneshot", "forking"}:
            network.run(*value)
        elif key == "ExecStart":
            network.spawn(*value)
