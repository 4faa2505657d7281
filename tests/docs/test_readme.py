"""What the README says is so: its commands exist, and what it shows is what the commands print."""

import io
import re
import subprocess

import pytest
from rich.console import Console

from infra.operations.summary import show
from infra.settings import ROOT
from tests.kit.program import run_program, stack_config
from workloads.spec.errors import UserError
from workloads.spec.recipe import load_recipe

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"`make ([a-z]+)", README)) | set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE))
    assert targets >= {"up", "down", "test", "lint", "clean", "preview", "refresh"}
    for target in sorted(targets):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_folder_and_file_that_is_named_exists():
    paths = set(re.findall(r"`((?:infra|workloads|stacks|docs|tests)/[\w./-]*)`", README))
    assert len(paths) > 5
    assert not [path for path in sorted(paths) if not (ROOT / path).exists()]


def test_the_end_of_make_up_looks_as_shown():
    (shown,) = re.findall(r"<!-- output of: make up -->\n```text\n(.*?)```", README, re.DOTALL)
    console = Console(width=200, record=True, file=io.StringIO())
    show(console, run_program(stack_config("local")).exports)
    printed = console.export_text()

    def labels(text: str) -> list[str]:
        return [line[:15].strip() for line in text.splitlines() if line.strip()]

    assert labels(printed) == labels(shown)
    assert printed.splitlines()[-1].strip() == shown.splitlines()[-1].strip()


def test_the_errors_that_are_shown_are_the_ones_that_are_told():
    with pytest.raises(UserError) as caught:
        load_recipe("irsi")
    assert f"error: {caught.value}" in README
