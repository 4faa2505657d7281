"""Start and stop the emulators: their environment and their processes."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.aws.layout import ACCOUNT, HOST, PORTS, REGION, Layout
from tests.lab.daemons import Daemon, until
from tests.lab.environments import answers, install, require_free

LOCK = Path(__file__).with_name("requirements.txt")
_START_LIMIT_S = 60


@contextmanager
def running(layout: Layout) -> Iterator[Layout]:
    """Both emulators, new and empty. Nothing of them is left running."""
    start(layout)
    try:
        yield layout
    finally:
        stop(layout)


def start(layout: Layout) -> None:
    """Start both, empty: what ran before is stopped, and what it held is forgotten.

    Raises:
        LabError: a port is taken, a package could not be had, or an emulator does not come up.
    """
    stop(layout)
    require_free(HOST, PORTS)
    install(LOCK, layout.environment)
    shutil.rmtree(layout.run, ignore_errors=True)
    layout.home.mkdir(parents=True)
    started = daemons(layout)
    try:
        for daemon in started:
            daemon.start()
        for daemon in started:
            port = PORTS[daemon.name]
            until(f"{daemon.name} on {port}", lambda port=port: answers(HOST, port), _START_LIMIT_S, daemon)
    except BaseException:
        stop(layout)
        raise


def stop(layout: Layout) -> None:
    for daemon in daemons(layout):
        daemon.stop()


def alive(layout: Layout) -> bool:
    return all(daemon.alive() for daemon in daemons(layout))


def daemons(layout: Layout) -> tuple[Daemon, ...]:
    bin_folder, own = layout.environment / "bin", environment(layout)
    return (
        Daemon("ministack", [bin_folder / "ministack"], layout.run, own),
        Daemon("moto", [bin_folder / "moto_server", "-H", HOST, "-p", str(PORTS["moto"])], layout.run, own),
    )


def environment(layout: Layout) -> dict[str, str]:
    """This process's, but for what is the user's: AWS's settings, proxies and folders."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("AWS_") and not key.lower().endswith("_proxy")
    }
    return kept | {
        "HOME": str(layout.home),
        "TMPDIR": str(layout.home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_DEFAULT_REGION": REGION,
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(PORTS["ministack"]),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MOTO_ACCOUNT_ID": ACCOUNT,
    }
