import pytest

from infra.toolchain import progress
from infra.toolchain.progress import stage


def test_a_log_gets_the_title_a_line_now_and_then_and_the_end(console, monkeypatch):
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.0)
    with stage(console, "building") as tell:
        tell("1 package")
    first, now, end = console.file.getvalue().splitlines()
    assert first == "building …"
    assert now.startswith("building: 1 package, ")
    assert end.startswith("building: done in ")


def test_a_log_is_not_flooded(console):
    with stage(console, "building") as tell:
        for count in range(1000):
            tell(f"{count} packages")
    assert len(console.file.getvalue().splitlines()) == 2


def test_work_that_fails_is_not_said_to_be_done(console):
    with pytest.raises(RuntimeError), stage(console, "building"):
        raise RuntimeError
    assert "done" not in console.file.getvalue()
