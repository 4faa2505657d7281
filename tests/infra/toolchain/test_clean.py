import subprocess
import sys

import psutil
import pytest

from infra.local.supervision import RECORD, ProcessRecord
from infra.toolchain.clean import require_idle
from workloads.spec.errors import UserError


@pytest.fixture
def service(tmp_path):
    """A service of stack `local` that is recorded and runs."""
    folder = tmp_path / "local/services/registry"
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        created = psutil.Process(process.pid).create_time()
        ProcessRecord(pid=process.pid, created=created, argv=("registry",)).save(folder / RECORD)
        yield process
        process.kill()


def test_a_state_folder_that_runs_nothing_may_go(tmp_path):
    require_idle(tmp_path / "absent")
    require_idle(tmp_path)


def test_a_state_folder_with_a_running_service_may_not_go(tmp_path, service):
    with pytest.raises(UserError, match=f"registry \\(process {service.pid}\\); run `make down STACK=local` first"):
        require_idle(tmp_path)


def test_a_record_of_a_service_that_has_ended_does_not_keep_the_folder(tmp_path, service):
    service.kill()
    service.wait()
    require_idle(tmp_path)
