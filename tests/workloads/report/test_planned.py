"""The plan beside what was measured, and the model's metrics beside what is had without it."""

import html
import re

import pytest

from tests.workloads.report.runs import write_run
from workloads.report.page import render
from workloads.report.planned import plan_outcome
from workloads.report.plots import draw_plots
from workloads.report.quality import metric_rows
from workloads.report.reading import read_figures


def text_of(spec):
    figures = read_figures(spec)
    page = render(figures, draw_plots(figures), spec.picture_svg)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_plan_is_held_against_what_was_measured(tmp_path):
    outcome = plan_outcome(read_figures(write_run(tmp_path)))

    assert outcome.total_s.off == pytest.approx(2.4 / 3 - 1)
    assert outcome.step_s.off == pytest.approx(0.1 / (3 / 24) - 1)
    assert outcome.round_bytes.measured == pytest.approx(5_000 / 6)
    # 40,000 bits in 3 s at 10 Mbit/s
    assert outcome.link_use.measured == pytest.approx(40_000 / 3e7)
    assert [site.step_s.off for site in outcome.sites] == pytest.approx([0.8 - 1] * 2)
    assert outcome.sites[0].memory_bytes.off == pytest.approx(5 / 7 - 1)


def test_the_plan_is_told_by_site_with_its_reasons(tmp_path):
    page = text_of(write_run(tmp_path))

    assert "training 2.40 s 3 s -20.0%" in page
    assert "aws-1 one worker 12 6 8 ms 10 ms -20.0% 500 MB 700 MB" in page
    assert "the link is idle < half of the time" in page


def test_a_run_without_a_prediction_shows_what_was_measured(tmp_path):
    spec = write_run(tmp_path)
    plan = spec.launch.plan.model_copy(update={"prediction": None})
    outcome = plan_outcome(
        read_figures(spec.model_copy(update={"launch": spec.launch.model_copy(update={"plan": plan})}))
    )

    assert (outcome.total_s.predicted, outcome.total_s.off, outcome.total_s.measured) == (None, None, 3.0)


def test_rounds_of_different_lengths_are_told_as_such(tmp_path):
    page = text_of(write_run(tmp_path, rounds=(2, 4, 8)))

    assert "Rounds 3 of 2 to 8 steps at each site" in page
    assert "3 rounds of 2 to 8 steps" in page


def test_metrics_stand_beside_all_their_baselines_the_best_first():
    told = {"auc": 0.93, "loss": 0.2, "prior_auc": 0.5, "brier": 0.05, "prior_brier": 0.17, "simple_auc": 0.8}

    rows = metric_rows(told, {"auc": 0.92})

    assert [(row.metric, row.compressed) for row in rows] == [("auc", 0.92), ("brier", None), ("loss", None)]
    assert [(baseline.words, baseline.value) for baseline in rows[0].baselines] == [
        ("simple", 0.8),
        ("knowing the classes' frequencies alone", 0.5),
    ]
    assert [baseline.value for baseline in rows[1].baselines] == [0.17]
