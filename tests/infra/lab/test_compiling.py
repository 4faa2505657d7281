"""Programs of the lab are built when their sources or flags have changed, and never half."""

import shutil
from dataclasses import replace

import pytest

from tests.lab.compiling import Program, compiled, is_current, said
from tests.lab.daemons import LabError

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")

MODULE = "module example.org/hello\n\ngo 1.21\n"
HELLO = 'package main\n\nimport "fmt"\n\nvar version = "none"\n\nfunc main() { fmt.Print(version) }\n'


@pytest.fixture
def program(tmp_path):
    source = tmp_path / "hello"
    source.mkdir()
    (source / "go.mod").write_text(MODULE, encoding="ascii")
    (source / "main.go").write_text(HELLO, encoding="ascii")
    return Program("hello", source, stamps={"main.version": "v7"})


@needs_go
def test_a_program_is_built_once_and_again_when_a_source_or_a_flag_changes(program, tmp_path):
    into = tmp_path / "bin"
    assert compiled(program, into)
    assert not compiled(program, into)
    other = replace(program, stamps={"main.version": "v8"})
    assert not is_current(other, into)
    assert compiled(other, into)
    assert said([str(into / "hello")], tmp_path) == "v8"
    (program.folder / "main.go").write_text(HELLO + "// changed\n", encoding="ascii")
    assert not is_current(other, into)


@needs_go
def test_the_linker_sets_what_the_program_says_of_itself(program, tmp_path):
    compiled(program, tmp_path / "bin")
    assert said([str(tmp_path / "bin/hello")], tmp_path) == "v7"


@needs_go
def test_what_does_not_compile_is_said_and_leaves_the_program_of_before(program, tmp_path):
    into = tmp_path / "bin"
    compiled(program, into)
    before = (into / "hello").read_bytes()
    (program.folder / "main.go").write_text("package main\n\nfunc main() { missing() }\n", encoding="ascii")
    with pytest.raises(LabError, match=r"(?s)go build in hello: .*undefined: missing"):
        compiled(program, into)
    assert (into / "hello").read_bytes() == before
    assert not is_current(program, into)


def test_without_go_the_remedy_is_said(program, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="install Go"):
        compiled(program, tmp_path / "bin")
