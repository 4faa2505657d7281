"""What a person sees follows from what the sites told, however much of it is there yet."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.kit.processes import run_module, running_module
from tests.workloads.report.runs import small_plan, write_run
from workloads.spec.errors import UserError
from workloads.spec.events import NoteEvent, RoundEvent, StepEvent
from workloads.trainer.hooks import EventLog
from workloads.trainer.watching.__main__ import Watch, follow_on_screen
from workloads.trainer.watching.pacing import Pacing
from workloads.trainer.watching.tail import EventTail
from workloads.trainer.watching.view import NOTES_SHOWN, plain, rows, screen

PACING = Pacing(small_plan(("aws-1",), (4, 4, 8)))


def step(number, t, **changes):
    return StepEvent(t=t, site="aws-1", step=number, loss=1 / number, samples=10, seconds=0.1).model_copy(
        update=changes
    )


def merged(number, t, seconds=4.0, wait_s=1.0):
    return RoundEvent(
        t=t, site="aws-1", round=number, rounds=3, epoch=1, loss=0.3, metrics={"accuracy": 0.5},
        bytes_sent=1000, bytes_received=2000, wait_s=wait_s, seconds=seconds, refused=number - 1,
    )  # fmt: skip


def row_of(*events, now=0.0):
    return rows({"aws-1": events}, PACING, now)[0]


def shown(renderable, width=200):
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_a_site_that_has_not_begun_has_a_row_without_figures():
    line = row_of()

    assert (line.standing, line.fraction, line.committed, line.rounds) == ("not begun", 0.0, 0, 3)
    assert {line.loss, line.quality, line.samples_per_s, line.wait_share, line.eta_s, line.silent_s} == {None}


def test_a_row_adds_up_what_the_rounds_told():
    line = row_of(step(1, 0.0), step(4, 3.0), merged(1, 4.0), step(8, 7.0), merged(2, 8.0), step(10, 9.0), now=9.0)

    assert (line.committed, line.bytes_sent, line.bytes_received, line.refused) == (2, 2000, 4000, 1)
    assert line.fraction == 10 / 16
    assert line.wait_share == pytest.approx(2 / 8)
    assert line.samples_per_s == pytest.approx(10.0)  # a step a second, 10 samples each, as the clock tells
    assert line.eta_s == pytest.approx(6 * 1.0)  # 6 steps at a second each
    assert (line.loss, line.quality, line.standing) == (0.1, ("accuracy", 0.5), "training")


def test_rounds_of_different_lengths_have_one_pace_a_step():
    line = row_of(merged(1, 4.0, seconds=4.0), merged(2, 8.0, seconds=4.0), now=8.0)

    assert line.eta_s == pytest.approx(8 * 1.0)  # the last round alone is as long as the other two


def test_a_site_alone_says_how_far_it_has_gone():
    line = row_of(step(4, 1.0), step(30, 2.0), now=2.0)

    assert (line.steps_ahead, line.standing, line.fraction) == (26, "alone for 26 steps", 0.25)
    assert line.samples_per_s == pytest.approx(260.0)  # steps that were not told are counted


def test_what_was_made_alone_does_not_count_for_the_next_round():
    line = row_of(step(30, 1.0), merged(1, 2.0), step(32, 3.0), now=3.0)

    assert (line.steps_ahead, line.standing, line.fraction) == (0, "training", 6 / 16)


def test_silence_is_said_and_ends_with_the_run():
    assert row_of(step(1, 100.0), now=161.0).standing == "silent for 1 min 01 s"
    assert row_of(merged(3, 100.0), now=9e9).standing == "done"
    assert row_of(merged(3, 100.0), now=9e9).eta_s == 0.0


def test_model_flops_utilisation_is_shown_where_the_steps_tell_it():
    line = row_of(step(1, 0.0, mfu=0.3), step(2, 1.0, mfu=0.3), now=1.0)

    assert line.mfu == pytest.approx(0.3)
    assert "MFU 30%" in plain(line)
    assert row_of(step(1, 0.0)).mfu is None


def test_the_screen_has_a_line_a_site_and_the_newest_notes():
    lines = (row_of(step(1, 0.0), step(4, 3.0), merged(1, 4.0), now=4.0), replace(row_of(), site="os-1"))
    notes = [NoteEvent(t=float(t), site="os-1", text=f"note {t}") for t in range(NOTES_SHOWN + 2)]

    text = shown(screen("iris, run 7", lines, notes))

    assert "iris, run 7" in text
    (first,) = [line for line in text.splitlines() if line.startswith("aws-1")]
    assert first.split()[2:] == [
        "1/3",
        "0.2500",
        "50.0%",
        "accuracy",
        "10",
        "-",
        "25%",
        "1",
        "kB",
        "2",
        "kB",
        "12",
        "s",
        "training",
    ]
    assert [line.split()[-2:] for line in text.splitlines() if line.startswith("os-1 ")] == [["not", "begun"]]
    assert [line[-1] for line in text.splitlines() if line.startswith("os-1: note")] == list("23456")


def test_a_plain_line_says_the_same():
    line = row_of(step(1, 0.0), step(8, 7.0), merged(2, 8.0), now=8.0)

    assert plain(line) == (
        "aws-1: training, 1 frames refused, round 2/3 (50%), loss 0.1250, held out 50.0% accuracy, 10 samples/s, "
        "MFU -, waiting 25%, sent 1 kB, received 2 kB, left 8 s"
    )


def test_a_tail_gives_each_event_once_and_waits_for_a_line_to_be_whole(tmp_path):
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.look() == ([], False)
    first, second = step(1, 1.0), step(2, 2.0)
    torn = second.model_dump_json()
    path.write_text(f"{first.model_dump_json()}\n{torn[:9]}", encoding="utf-8")
    assert tail.look() == ([first], True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{torn[9:]}\n")

    assert tail.look() == ([second], False)
    assert tail.look() == ([], False)


def test_a_resumed_run_is_counted_anew(tmp_path):
    launch = write_run(tmp_path, rounds=(4, 4)).launch
    watch = Watch(launch)
    assert [line.committed for line in watch.look(0.0)] == [2, 2]
    log = EventLog(launch.sites[0].work / "events.jsonl")
    log.rewind(1, 4)
    log.close()

    lines = watch.look(0.0)
    assert [line.committed for line in lines] == [1, 2]
    assert lines[0].bytes_sent == lines[1].bytes_sent / 2


def test_a_file_in_place_of_another_is_read_from_its_start_however_long_it_is(tmp_path):
    path, scratch = tmp_path / "events.jsonl", tmp_path / "events.tmp"
    tail, told = EventTail(path), [step(number, float(number)) for number in (1, 2, 3)]
    path.write_text(f"{told[0].model_dump_json()}\n", encoding="utf-8")
    tail.look()
    scratch.write_text("".join(f"{event.model_dump_json()}\n" for event in told), encoding="utf-8")
    scratch.replace(path)

    assert tail.look() == (told, True)


def test_a_line_that_is_no_event_is_one_line(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event":"step"}\n', encoding="utf-8")

    with pytest.raises(UserError, match=r"events.jsonl: step.t: Field required") as caught:
        EventTail(path).look()
    assert "\n" not in str(caught.value)


def test_a_finished_run_is_shown_on_a_terminal_and_ends(tmp_path):
    console = Console(record=True, force_terminal=True, width=200, file=io.StringIO())

    follow_on_screen(Watch(write_run(tmp_path, notes=("the link is back",)).launch), console, once=False)

    text = console.export_text()
    lines = [line for line in text.splitlines() if line.startswith(("aws-1 ", "os-1 "))]
    assert lines
    assert all("6/6" in line and "done, 1 frames refused" in line for line in lines)
    assert "aws-1: the link is back" in text


def test_the_command_shows_a_finished_run_in_lines(tmp_path):
    write_run(tmp_path, notes=("the link is back",)).launch.save(tmp_path / "launch.json")

    done = run_module("workloads.trainer.watching", tmp_path / "launch.json")

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(",")[0] for line in done.stdout.splitlines()] == [
        "note: aws-1: the link is back",
        "aws-1: done",
        "os-1: done",
    ]


def test_the_command_follows_a_run_to_its_end(tmp_path):
    launch = write_run(tmp_path).launch
    launch.save(tmp_path / "launch.json")
    path = launch.sites[1].work / "events.jsonl"
    whole = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(whole[:-1]), encoding="utf-8")  # the last round is not merged yet
    arguments = (tmp_path / "launch.json", "--every", "0.05")
    with running_module("workloads.trainer.watching", *arguments, log=tmp_path / "log") as process:
        said = [process.stdout.readline()]
        with path.open("a", encoding="utf-8") as file:
            file.write(whole[-1])
        said += process.stdout.readlines()
        status = process.wait()

    assert status == 0
    assert said[0].startswith("os-1: silent")
    assert said[-1].startswith("os-1: done, 1 frames refused, round 6/6 (100%)")


def test_a_launch_that_is_not_there_is_one_line(tmp_path):
    done = run_module("workloads.trainer.watching", tmp_path / "absent.json")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
