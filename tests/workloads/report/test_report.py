"""The page about a run: whole, self-contained, and with the figures of its inputs."""

import html
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tests.workloads.report.runs import PICTURE, SHA, URL, write_run
from workloads.report.curves import thin
from workloads.report.page import render
from workloads.report.plots import draw_plots
from workloads.report.reading import read_figures
from workloads.spec.errors import UserError


def page_of(spec):
    figures = read_figures(spec)
    return render(figures, draw_plots(figures), spec.picture_svg)


def text_of(page):
    """What a reader sees: no styles, no tags."""
    visible = re.sub(r"<(style|head)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", visible)).split())


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(spec):
    return page_of(spec)


def test_the_command_writes_the_page_and_says_where(spec, tmp_path):
    file = tmp_path / "spec.json"
    spec.save(file)
    done = subprocess.run(
        [sys.executable, "-m", "workloads.report", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(spec.output) in done.stdout
    assert spec.output.read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_the_page_loads_nothing_and_runs_nothing(page):
    assert "<script" not in page
    assert "@import" not in page
    assert not re.findall(r"(?:src|xlink:href)=[\"'](?!data:|#)", page)
    assert {URL} == set(re.findall(r"<a[^>]+href=[\"']([^\"'#][^\"']*)", page))
    assert len(page.encode()) < 1 << 20


def test_the_headline_figures_are_those_of_the_inputs(page):
    text = text_of(page)
    assert "125\N{MULTIPLICATION SIGN}" in text  # 625,000 bytes of a site with DDP, 5,000 sent
    assert "95.0%" in text
    assert "97.5%" in text
    assert "33.3%" in text


def test_the_link_is_told_by_site(page):
    text = text_of(page)
    assert re.search(r"aws-1 5,000 15,000 625,000", text)
    assert re.search(r"all 10,000 30,000 1,250,000", text)


def test_candidates_and_their_verdicts_are_listed(page):
    text = text_of(page)
    assert re.search(r"30% 51 81\.2% 395 not passed", text)
    assert re.search(r"20% 59 95\.0% 415 passed", text)


def test_the_lineage_is_whole(page, spec):
    text = text_of(page)
    for part in (SHA.recipe, SHA.data, SHA.outer, spec.launch.run_id, "0.1.0+abc", "champion"):
        assert part in text


def test_every_plot_is_valid_and_shows_every_site(spec):
    for plot in draw_plots(read_figures(spec)):
        ET.fromstring(str(plot.svg))  # noqa: S314 - drawn by our own code
        for site in ("aws-1", "os-1"):
            assert site in str(plot.svg)


def test_plots_are_the_same_for_the_same_run(spec):
    figures = read_figures(spec)
    assert draw_plots(figures) == draw_plots(figures)


def test_three_sites_are_three_lines(tmp_path):
    spec = write_run(tmp_path, sites=("a-1", "b-1", "c-1"))
    for plot in draw_plots(read_figures(spec)):
        assert all(site in str(plot.svg) for site in ("a-1", "b-1", "c-1"))


def test_text_of_the_run_is_escaped(tmp_path):
    text = text_of(page_of(write_run(tmp_path / "a", notes=["5 < 6 & <b>bold</b>"])))
    assert "5 < 6 & <b>bold</b>" in text
    assert "<b>bold</b>" not in page_of(write_run(tmp_path / "b", notes=["<b>bold</b>"]))


def test_an_interrupted_run_says_so(tmp_path):
    text = text_of(page_of(write_run(tmp_path, notes=["training resumes after round 3 of 6"], resumed_at_round=3)))
    assert "training resumes after round 3 of 6" in text


def test_the_styles_of_the_picture_do_not_reach_the_page(page):
    assert PICTURE not in page
    assert ".panel { fill: red }" not in page


def test_a_line_that_a_kill_tore_is_left_out(tmp_path):
    spec = write_run(tmp_path)
    events = spec.launch.sites[0].work / "events.jsonl"
    whole = page_of(spec)
    with events.open("a", encoding="utf-8") as log:
        log.write('{"event": "step", "t": 17')
    assert page_of(spec) == whole


@pytest.mark.parametrize("what", ["run/result.json", "compressed/result.json", "registered/result.json"])
def test_a_missing_input_is_one_line(tmp_path, what):
    spec = write_run(tmp_path)
    (tmp_path / what).unlink()
    with pytest.raises(UserError, match="no such file") as caught:
        read_figures(spec)
    assert "\n" not in str(caught.value)


def test_missing_events_are_one_line(tmp_path):
    spec = write_run(tmp_path)
    (spec.launch.sites[1].work / "events.jsonl").unlink()
    with pytest.raises(UserError, match="events.jsonl"):
        read_figures(spec)


def test_a_long_curve_is_thinned_without_losing_its_extremes():
    steps = np.arange(10_000)
    loss = np.sin(steps / 50)
    loss[1234] = 99.0
    curve = thin(steps, loss, 200)
    assert len(curve.x) <= 200
    assert np.max(curve.high) == 99.0
