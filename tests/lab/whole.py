"""The lab as a whole: clouds, cluster, controllers and plugins, brought up and taken away."""

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console

from infra.toolchain.engine import ensure_engine
from infra.toolchain.progress import say
from tests.lab import place, preconditions
from tests.lab.cluster.layout import SPACES
from tests.lab.daemons import LabError
from tests.lab.log import Log
from tests.lab.meter import Meter, folder_mb
from tests.lab.openstack.layout import Layout
from tests.lab.providers import bridge, standin
from tests.lab.record import Record
from tests.lab.stages import Stages

PYTHON_PLUGINS = ("aws", "kubernetes")
_GO_PLUGIN = "openstack"


def openstack() -> Layout:
    return Layout(place.LAB / "openstack")


def is_up() -> bool:
    """Whether a whole lab stands, with all its processes: one of which a process has ended is no whole one."""
    try:
        known = set(json.loads(place.STANDING.read_text(encoding="utf-8"))["processes"])
    except FileNotFoundError:
        return False
    return known <= set(preconditions.living(place.LAB))


def up(console: Console, log: Log, record: Record) -> None:
    """Bring everything up but the stack. Raises `LabError` before anything starts, with a line for each that is missing."""
    if faults := preconditions.faults(preconditions.look(place.LAB)):
        raise LabError("\n".join(faults))
    cold = not (place.LAB / "cluster/images").exists()
    _forget()
    began = time.monotonic()
    try:
        with Meter() as meter, Stages(console, log) as stages:
            stages.lanes(lambda: _build(stages), lambda: _clouds(stages))
            stages.module("cluster", "tests.lab.cluster", "up")
            stages.module("controllers", "tests.lab.controllers", "install")
    except BaseException:
        say(console, "what was started by then still runs, to be looked at; `make lab-down` takes it away")
        raise
    total_s = time.monotonic() - began
    record.append(
        "ups",
        {
            "kind": "cold" if cold else "warm",
            "total_s": round(total_s, 1),
            "stages": {name: round(seconds, 1) for name, seconds in stages.seconds.items()},
            "memory_mb": round(meter.peak_mb),
            "disk_mb": round(folder_mb(place.LAB)),
        },
    )
    place.STANDING.write_text(json.dumps({"processes": preconditions.living(place.LAB)}), encoding="utf-8")
    say(console, f"the lab stands after {total_s:.0f} s: KUBECONFIG={place.LAB / 'kubeconfig'}")


def down(console: Console, log: Log) -> None:
    """Take away all that runs, whatever state it is in; what was built stays. Raises `LabError` naming what is left."""
    if os.geteuid() != 0:
        raise LabError("taking a lab away needs root; run it with sudo")
    place.STANDING.unlink(missing_ok=True)
    left: list[str] = []
    with Stages(console, log) as stages:
        for part in ("cluster", "aws", "openstack"):
            try:
                stages.module(f"{part} down", f"tests.lab.{part}", "down")
            except LabError as error:
                left.append(str(error))
    shutil.rmtree(place.STACK, ignore_errors=True)
    found = preconditions.look(place.LAB)
    left += [f"{name} still runs" for name in found.recorded]
    left += [f"{name} is still there" for name in (*found.namespaces, *found.devices)]
    if left:
        raise LabError("\n".join(left))
    say(console, "nothing of the lab runs any more; what was built stays in .state/lab")


def status(console: Console) -> None:
    """What stands and runs, a line each."""
    running = preconditions.living(place.LAB)
    say(console, f"lab: {'stands' if is_up() else 'is not whole' if running else 'is down'}")
    say(console, f"processes: {', '.join(running) or 'none'}")
    there = [name for name in SPACES if Path("/run/netns", name).exists()]
    say(console, f"namespaces: {', '.join(there) or 'none'}")
    memory = psutil.virtual_memory()
    say(
        console,
        f"memory: {memory.available >> 20} of {memory.total >> 20} MB free; .state/lab: {folder_mb(place.LAB):.0f} MB",
    )
    with suppress(FileNotFoundError):
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime((place.REPORT / "report.md").stat().st_mtime))
        say(console, f"report: {place.REPORT / 'report.md'}, of {written}")


def _forget() -> None:
    """What speaks of an earlier lab's clouds, which are gone."""
    place.STANDING.unlink(missing_ok=True)
    shutil.rmtree(place.STACK, ignore_errors=True)


def _build(stages: Stages) -> None:
    # one after the other: each compiles on all cores
    stages.module("binaries of the cluster", "tests.lab.cluster", "build")
    stages.module("binaries of controllers", "tests.lab.controllers", "build")
    stages.module("images", "tests.lab.images", "build")


def _clouds(stages: Stages) -> None:
    stages.module("OpenStack", "tests.lab.openstack", "up")
    stages.module("AWS", "tests.lab.aws", "up")
    with stages.stage("plugins"):
        plugins()
    with stages.stage("engine"):
        ensure_engine(place.LAB.parent)


def plugins() -> None:
    """The providers' plugins in the lab's PULUMI_HOME; official ones that are there stay."""
    folder = place.HOME / "plugins"
    bridge.build(_GO_PLUGIN, folder)
    for name in PYTHON_PLUGINS:
        standin.install(name, folder)
