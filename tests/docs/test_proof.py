"""PROOF.md names tests that exist."""

import re

from infra.settings import ROOT

PROOF = (ROOT / "docs/PROOF.md").read_text(encoding="utf-8")


def test_every_named_test_exists():
    named = re.findall(r"`([a-z][\w/]*\.py)(?:::(\w+))?`", PROOF)
    assert len(named) > 25
    for file, test in named:
        path = ROOT / file if file.startswith("workloads/trainer/world") else ROOT / "tests" / file
        assert path.is_file(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), f"{file}::{test}"


def test_every_capability_has_a_rung():
    rows = [line.split("|")[1:-1] for line in PROOF.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert all(len(row) == 3 and row[1].strip() in {"none", "1", "2", "3", "4"} for row in rows)
