"""Executables and servers that the toolchain meets: small, real, and on this machine only."""

import contextlib
import functools
import http.server
import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from infra.settings import ROOT
from infra.toolchain.engine import ensure_engine
from tests.kit.listening import listening


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def pulumi(folder: Path, version: str, *, language_host: bool = True) -> Path:
    """A folder with executables that answer as an engine of a version does."""
    if language_host:
        executable(folder / "pulumi-language-python", "exit 0")
    return executable(folder / "pulumi", f"echo {version}")


@contextlib.contextmanager
def served(folder: Path):
    """A web server over a folder, on loopback; gives its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Nobody reads it."""

    handler = functools.partial(Handler, directory=folder)
    with listening(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        yield address


@pytest.fixture(scope="session")
def real_engine():
    """The engine that the project works with on this machine."""
    return ensure_engine(ROOT / ".state")


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=400)


@pytest.fixture(autouse=True)
def only_the_system_on_path(monkeypatch):
    """No engine, no Go and no choice of the user's reaches a test unless it asks for them."""
    for name in ("ISTHMUS_ENGINE", "ISTHMUS_PULUMI_HOME", "ISTHMUS_PLUGINS", "PULUMI_PLUGIN_DOWNLOAD_URL_OVERRIDES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join(["/usr/bin", "/bin"]))
