import json
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from tests.kit.stack import eventually


class Project:
    """A program, a stack named `dev` and a file backend, with the engine and a PULUMI_HOME of its own."""

    def __init__(self, engine, folder, program):
        (folder / "backend").mkdir()
        (folder / "Pulumi.yaml").write_text("{name: hello, runtime: python}")
        (folder / "__main__.py").write_text(program)
        home = {"PULUMI_HOME": str(folder / "home")}
        stack = {"PULUMI_BACKEND_URL": (folder / "backend").as_uri(), "PULUMI_CONFIG_PASSPHRASE": "x"}
        self._folder, self._engine = folder, replace(engine, env={**engine.env, **home, **stack})
        self.run("stack", "init", "dev", "--no-select")

    def start(self, *arguments):
        return subprocess.Popen(
            [self._engine.path, *arguments, "--non-interactive"],
            cwd=self._folder,
            env=self._engine.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments, status=0):
        with self.start(*arguments) as process:
            text, _ = process.communicate()
        assert process.returncode == status, text
        return text


def test_a_program_runs_in_this_interpreter_and_exports_its_values(real_engine, tmp_path):
    program = "import pulumi, sys\npulumi.export('seen', [pulumi.get_stack(), sys.executable])"
    project = Project(real_engine, tmp_path, program)
    project.run("up", "--stack", "dev", "--yes", "--skip-preview")
    assert json.loads(project.run("stack", "output", "--stack", "dev", "--json")) == {"seen": ["dev", sys.executable]}


def test_a_program_that_has_told_its_error_is_not_reported_again(real_engine, tmp_path):
    project = Project(real_engine, tmp_path, "import pulumi, sys\npulumi.log.error('one clear line')\nsys.exit(32)")
    diagnostics = project.run("preview", "--stack", "dev", status=1).rpartition("Diagnostics:")[2]
    assert diagnostics.count("error:") == 1
    assert "error: one clear line" in diagnostics


def test_a_program_that_just_ends_badly_is_an_error(real_engine, tmp_path):
    project = Project(real_engine, tmp_path, "import os\nos._exit(7)")
    assert "exit status 7" in project.run("preview", "--stack", "dev", status=1)


def test_nothing_outlives_an_engine_that_was_killed(real_engine, tmp_path):
    if not real_engine.path.is_relative_to(real_engine.home):
        pytest.skip("the engine on PATH has a language host of its own")
    note = tmp_path / "pid"
    program = f"import os, signal\nopen({str(note)!r}, 'w').write(str(os.getpid()) + '.')\nsignal.pause()"
    with Project(real_engine, tmp_path, program).start("preview", "--stack", "dev") as engine:
        eventually(lambda: note.exists() and note.read_text().endswith("."))
        started = psutil.Process(engine.pid).children(recursive=True)
        assert int(note.read_text().rstrip(".")) in {process.pid for process in started}
        engine.kill()
        _, alive = psutil.wait_procs(started, timeout=30)
        engine.communicate()
    assert alive == []


PROVIDER = """
import sys
from pulumi.provider.experimental import provider as api
from pulumi.provider.experimental.server import main

class Echo(api.Provider):
    async def check(self, request):
        return api.CheckResponse(inputs=request.new_inputs)

    async def create(self, request):
        return api.CreateResponse("an-id", request.properties)

main(sys.argv[1:], "0.0.1", Echo())
"""

USES_PROVIDER = """
import pulumi

class Echo(pulumi.CustomResource):
    said: pulumi.Output[str]

pulumi.export("said", Echo("toy:index:Echo", "echo", {"said": "hello"}).said)
"""


def test_a_provider_that_is_a_folder_of_python_serves_the_program(real_engine, tmp_path):
    (tmp_path / "provider").mkdir()
    (tmp_path / "provider/PulumiPlugin.yaml").write_text("runtime: python")
    (tmp_path / "provider/__main__.py").write_text(PROVIDER)
    project = Project(real_engine, tmp_path, USES_PROVIDER)
    plugins = "{providers: [{name: toy, path: provider}]}"
    (tmp_path / "Pulumi.yaml").write_text(f"{{name: hello, runtime: python, plugins: {plugins}}}")
    project.run("up", "--stack", "dev", "--yes", "--skip-preview")
    assert json.loads(project.run("stack", "output", "--stack", "dev", "--json")) == {"said": "hello"}
