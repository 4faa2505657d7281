"""The Pulumi engine from its Go module, for networks that reach a Go module proxy and none of Pulumi's own hosts.

Upstream's Python language host is a module that proxies rarely carry, so a small one is built in its place.
Nothing else of the project knows about any of this.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from semver import Version

from infra.toolchain.progress import say, stage
from infra.toolchain.release import UnavailableError

SOURCES = Path(__file__).parent

_SDK = "github.com/pulumi/pulumi/sdk/v3"
_PACKAGES = ("github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", "./pulumi-language-python")
_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-v")
_RUNNER = Path("python", "cmd", "pulumi-language-python-exec")  # in the SDK's module
_PACKAGE_LINE = re.compile(r"[\w.~-]+(/[\w.~-]+)*")
_LINES_KEPT = 3


def key() -> str:
    """Changes whenever an engine built before would come out otherwise: the hash of the sources.

    The Go version is left out. A newer Go is no reason to spend minutes on an engine that works.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in SOURCES.rglob("*") if path.suffix in {".go", ".mod", ".sum"}):
        digest.update(f"{path.relative_to(SOURCES)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def oldest_go() -> str:
    """The Go version that `go.mod` asks for, such as `1.25.11`."""
    lines = (SOURCES / "go.mod").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("go ") for line in lines if line.startswith("go "))


def build(version: Version, into: Path, console: Console) -> None:
    """Build the engine and the language host into the folder `into`, which must not exist.

    Raises:
        UnavailableError: Go is missing or too old, a module cannot be fetched, or the build fails.
    """
    go = _go()
    into.mkdir()
    command = [go, "build", *_FLAGS, "-ldflags", f"-s -w -X {_SDK}/go/common/version.Version=v{version}"]
    say(
        console, "Pulumi's own hosts are not reachable: the engine is built from its Go module, once. It takes minutes."
    )
    with stage(console, f"building Pulumi {version}") as tell:
        _run([*command, "-o", f"{into}{os.sep}", *_PACKAGES], tell)
    module = json.loads(_ask(go, "mod", "download", "-json", _SDK))
    shutil.copy(Path(module["Dir"]) / _RUNNER, into)
    (into / _RUNNER.name).chmod(0o755)


def _go() -> str:
    """The `go` command, which is new enough."""
    path = shutil.which("go")
    if path is None:
        raise UnavailableError("Go is not on PATH")
    # Asked in the module's folder: a Go that may fetch a newer one does so, and one that may not says what it lacks.
    found = _ask(path, "env", "GOVERSION").strip().removeprefix("go")
    if _numbers(found) < _numbers(oldest_go()):
        raise UnavailableError(f"Go {found} at {path} is older than {oldest_go()}")
    return path


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _environment() -> dict[str, str]:
    # without cgo there is no need of a C compiler; a workspace of the user's has no say here
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}


def _ask(go: str, *arguments: str) -> str:
    done = subprocess.run(
        [go, *arguments], cwd=SOURCES, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UnavailableError(f"go {arguments[0]}: {_last(done.stderr.splitlines())}")
    return done.stdout


def _run(command: list[str], tell: Callable[[str], None]) -> None:
    with subprocess.Popen(command, cwd=SOURCES, env=_environment(), stderr=subprocess.PIPE, text=True) as process:
        if process.stderr is None:
            raise AssertionError("asked for a pipe")
        try:
            said = _follow(process.stderr, tell)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise UnavailableError(f"go build: {_last(said) or f'exit status {process.returncode}'}")


def _follow(lines: Iterable[str], tell: Callable[[str], None]) -> deque[str]:
    """Count what `go build -v` says it does, and return the last of what else it said."""
    fetched = compiled = 0
    said: deque[str] = deque(maxlen=_LINES_KEPT)
    for line in map(str.strip, lines):
        if line.startswith("go: downloading "):
            fetched += 1
        elif _PACKAGE_LINE.fullmatch(line):
            compiled += 1
        elif line:
            said.append(line)
        tell(f"{compiled} packages compiled, {fetched} modules fetched")
    return said


def _last(lines: Iterable[str]) -> str:
    return " ".join(" ".join(list(lines)[-_LINES_KEPT:]).split())[:400]
