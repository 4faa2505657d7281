"""The Pulumi engine that the project works with: one on PATH that fits, else one of its own under the state folder.

Nothing outside the state folder is touched, except Go's caches of the user if the engine must be built.
"""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from semver import Version

from infra.toolchain import release
from infra.toolchain.mirror import build as mirror
from infra.toolchain.progress import say
from infra.toolchain.version import ENGINE_VERSION, TOO_NEW, require_fitting, version_of
from workloads.spec.errors import UserError

CHOICE = "ISTHMUS_ENGINE"
HOME = "ISTHMUS_PULUMI_HOME"
LANGUAGE_HOST = "pulumi-language-python"

# Puts the engine of a version into a folder that does not exist yet, or raises `UnavailableError`.
Way = Callable[[Version, Path, Console], None]
WAYS: tuple[Way, ...] = (release.install, mirror.build)

_RECORD = "engine.json"
_SETTINGS = {
    "PULUMI_SKIP_UPDATE_CHECK": "true",
    # The engine would fetch a plugin for every Pulumi SDK that is installed, used or not.
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    # A provider that happens to be on PATH would win over the version that the program asks for.
    "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
    # The desktop's keyring is not ours to write to.
    "PULUMI_CREDENTIAL_STORE": "plaintext",
}


@dataclass(frozen=True)
class Engine:
    """A Pulumi engine and how to call it."""

    path: Path
    version: Version
    home: Path  # PULUMI_HOME, the project's own even if the engine is not
    env: Mapping[str, str]  # the whole environment for a command of it


def ensure_engine(state: Path, console: Console | None = None, ways: Sequence[Way] = WAYS) -> Engine:
    """The engine, which is installed under `state` if there is none on PATH; progress goes to `console`.

    `ISTHMUS_PULUMI_HOME` names another PULUMI_HOME than `state/pulumi`, such that several state folders share one.

    Raises:
        UserError: the engine on PATH does not fit, or there is no way to get one.
    """
    home = Path(os.environ.get(HOME) or state / "pulumi").absolute()
    home.mkdir(parents=True, exist_ok=True)
    path = None if _own_is_wanted() else _on_path(home)
    if path is None:
        path = _ensure_own(home, console or Console(stderr=True), ways)
    version = version_of(path)
    require_fitting(version, path)
    return Engine(path, version, home, environment(home, path))


def environment(home: Path, engine: Path) -> dict[str, str]:
    """This process's environment, made such that an engine keeps to `home`, this interpreter and off the network."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    if engine.is_relative_to(home):
        folders.insert(0, str(engine.parent))
    return {
        **os.environ,
        **_SETTINGS,
        "PULUMI_HOME": str(home),
        "PULUMI_PYTHON_CMD": sys.executable,
        "PATH": os.pathsep.join(folders),
    }


def _own_is_wanted() -> bool:
    choice = os.environ.get(CHOICE, "")
    if choice not in {"", "own"}:
        raise UserError(f"{CHOICE} is {choice!r}; leave it unset to use a pulumi on PATH, or set it to own")
    return choice == "own"


def _on_path(home: Path) -> Path | None:
    """The user's pulumi. The project's own is on PATH too when this runs under an engine of it."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    search = os.pathsep.join(entry for entry in entries if not Path(entry).absolute().is_relative_to(home))
    found = shutil.which("pulumi", path=search)
    if found is None:
        return None
    path = Path(found)
    require_fitting(version_of(path), path)
    beside = os.pathsep.join([str(path.parent), str(path.resolve().parent)])
    if shutil.which(LANGUAGE_HOST, path=beside) is None:
        raise UserError(
            f"pulumi at {path} has no {LANGUAGE_HOST} beside it; install Pulumi's complete release, or set "
            f"{CHOICE}=own (`make up ENGINE=own`) to let the project use an engine of its own"
        )
    return path


def _ensure_own(home: Path, console: Console, ways: Sequence[Way]) -> Path:
    if not _is_current(home / "bin"):
        with _alone(home, console):
            if not _is_current(home / "bin"):  # somebody else may have finished it while we waited
                _install(home, console, ways)
    return home / "bin" / "pulumi"


def _is_current(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / _RECORD).read_text(encoding="utf-8")) == _record())
    except (OSError, ValueError):
        return False


def _record() -> dict[str, str]:
    return {"version": str(ENGINE_VERSION), "sources": mirror.key()}


@contextmanager
def _alone(home: Path, console: Console) -> Iterator[None]:
    """One installer at a time. The kernel gives the lock back if its holder is killed."""
    with (home / "install.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(console, "waiting for another command that is installing the engine …")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(home: Path, console: Console, ways: Sequence[Way]) -> None:
    """Make the folder aside and move it into place whole, so that a kill leaves nothing that looks complete."""
    aside, old = home / "bin.new", home / "bin.old"
    reasons = []
    for way in ways:
        shutil.rmtree(aside, ignore_errors=True)
        try:
            way(ENGINE_VERSION, aside, console)
            break
        except release.UnavailableError as error:
            reasons.append(str(error))
    else:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(
            f"no Pulumi engine: pulumi is not on PATH; {'; '.join(reasons)}. Install pulumi {ENGINE_VERSION} or newer "
            f"(below {TOO_NEW}), or allow one of these hosts, or install Go {mirror.oldest_go()} or newer, and run this again"
        )
    require_fitting(version_of(aside / "pulumi"), aside / "pulumi")
    (aside / _RECORD).write_text(json.dumps(_record()), encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if (home / "bin").exists():
        (home / "bin").rename(old)
    aside.rename(home / "bin")
    shutil.rmtree(old, ignore_errors=True)
