"""The report's figures follow from the run's, and a report that cannot be made leaves nothing behind."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.kit.processes import run_module
from tests.workloads.report.runs import PICTURE, URL, write_run
from workloads.report import wording
from workloads.report.page import render
from workloads.report.plots import draw_plots
from workloads.report.reading import read_figures
from workloads.spec.artifact import MANIFEST, RESULT, ArtifactManifest, RunResult
from workloads.spec.errors import UserError
from workloads.spec.launch import ReportLaunch
from workloads.spec.recipe import load_recipe

PLOTS = ("loss", "validation", "rounds", "link")


class Tags(HTMLParser):
    """Start tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def ids(self) -> list[str | None]:
        return [attributes["id"] for _, attributes in self.found if "id" in attributes]


def page_of(spec: ReportLaunch) -> str:
    figures = read_figures(spec)
    return render(figures, draw_plots(figures), spec.picture_svg)


def tiles_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'tile-name">(.*?)</div>\s*<div class="tile-value">(.*?)</div>', page))


def command(spec: ReportLaunch, folder: Path) -> str:
    """What the command says when it refuses."""
    spec.save(folder / "spec.json")
    done = run_module("workloads.report", folder / "spec.json")
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_tiles_show_the_result_of_the_run(tmp_path):
    assert tiles_of(page_of(write_run(tmp_path))) == {
        "Less on the link than plain DDP": "125\N{MULTIPLICATION SIGN}",
        "Held-out accuracy, served model": "95.0%",
        "Training time": "3 s",
        "Rounds": "6",
        "Samples": "576",  # 6 rounds of 4 steps of 12 samples at 2 sites
        "Parameters": "59",
    }


def test_only_the_registered_version_is_an_address_of_elsewhere(tmp_path):
    page = page_of(write_run(tmp_path))

    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {URL}
    assert [tag for tag, attributes in Tags(page).found if attributes.get("href") == URL] == ["a"]


def test_an_address_that_is_not_of_the_web_is_no_link(tmp_path):
    spec = write_run(tmp_path)
    spec.registered.write_text(spec.registered.read_text().replace(URL, "javascript:alert(1)"))

    assert not [tag for tag, _ in Tags(page_of(spec)).found if tag == "a"]


def test_every_plot_draws_every_site_and_no_two_parts_share_an_id(tmp_path):
    sites = ("aws-1", "os-1", "os-2", "os-3", "os-4")

    ids = Tags(page_of(write_run(tmp_path, sites=sites))).ids()

    assert {f"{plot}-{site}" for plot in PLOTS for site in sites} <= set(ids)
    assert len(ids) == len(set(ids))


def test_plain_ddp_needs_its_bytes_and_half_a_round_trip_a_step(tmp_path):
    figures = read_figures(write_run(tmp_path))

    # 625,000 bytes at 10 Mbit/s, and 24 steps at half of 40 ms
    assert figures.ddp_least_s == pytest.approx(0.5 + 24 * 0.02)
    # 5 Mbit in 3 s
    assert figures.ddp_link_share == pytest.approx(5 / 3 / 10)
    # 15,000 bytes with framing in 3 s, of which the first site waited for 0.75 s
    assert figures.traffic[0].link_share == pytest.approx(0.12 / 3 / 10)
    assert figures.traffic[0].wait_share == pytest.approx(0.25)


def test_speed_is_of_the_steps_alone_and_of_the_whole_time(tmp_path):
    spec = write_run(tmp_path)
    pace = read_figures(spec).pace

    # steps of 12 samples in 10 ms; 24 of them in 3 s
    assert [site.step_samples_per_s for site in pace] == pytest.approx([1200.0] * 2)
    assert [site.samples_per_s for site in pace] == pytest.approx([24 * 12 / 3] * 2)
    assert [(site.tokens_per_s, site.mfu, site.refused_frames) for site in pace] == [(None, None, 1)] * 2


def test_tokens_and_mfu_are_told_where_they_are_known(tmp_path):
    spec = write_run(tmp_path, recipe=load_recipe("language"))
    for site in spec.launch.sites:
        events = site.work / "events.jsonl"
        events.write_text(events.read_text().replace('"mfu":null', '"mfu":0.25'))

    figures = read_figures(spec)

    context = spec.launch.recipe.data.context
    assert [site.tokens_per_s for site in figures.pace] == pytest.approx([24 * 12 / 3 * context] * 2)
    assert [site.mfu for site in figures.pace] == pytest.approx([0.25] * 2)
    assert "tokens/s over all" in page_of(spec)


def test_what_sites_note_of_one_another_is_told(tmp_path):
    page = page_of(write_run(tmp_path, notes=("site os-1 left the cohort <by quorum>",)))

    assert "<th>aws-1</th><td>site os-1 left the cohort &lt;by quorum&gt;</td>" in page


def test_a_thinned_plot_says_what_its_points_are(tmp_path):
    captions = [plot.caption for plot in draw_plots(read_figures(write_run(tmp_path, rounds=(4,) * 400)))]

    for caption, said in zip(captions, ("6 steps", "2 rounds", "4 rounds", "2 rounds"), strict=True):
        assert f"is the mean of up to {said}." in caption


def test_a_model_of_another_run_is_refused(tmp_path):
    spec = write_run(tmp_path)
    path = spec.launch.output / "trained" / MANIFEST
    ArtifactManifest.load(path).model_copy(update={"parameters": 84}).save(path)

    with pytest.raises(UserError, match="the report needs the files of one run"):
        read_figures(spec)


def test_a_result_of_other_sites_is_refused(tmp_path):
    spec = write_run(tmp_path)
    path = spec.launch.output / RESULT
    RunResult.load(path).model_copy(update={"bytes_sent": {"aws-1": 5}}).save(path)

    with pytest.raises(UserError, match=r"bytes_sent is of sites \['aws-1'\]"):
        read_figures(spec)


@pytest.mark.parametrize("damage", [b'{"event":"step","t":1}\n', b"\xff\n", b""])
def test_damaged_or_empty_events_are_one_line(tmp_path, damage):
    spec = write_run(tmp_path)
    path = spec.launch.sites[1].work / "events.jsonl"
    path.write_bytes(damage)

    with pytest.raises(UserError, match=re.escape(str(path))) as caught:
        read_figures(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("picture", ["<svg", "<html></html>"])
def test_a_picture_that_is_none_is_refused_and_the_page_of_before_stays(tmp_path, picture):
    spec = write_run(tmp_path).model_copy(update={"picture_svg": picture})
    spec.output.write_text("before", encoding="utf-8")

    said = command(spec, tmp_path)

    assert said.startswith("error: picture_svg: ")
    assert said.count("\n") == 1
    assert spec.output.read_text(encoding="utf-8") == "before"


def test_a_page_that_cannot_be_put_in_place_leaves_nothing(tmp_path):
    spec = write_run(tmp_path)
    spec.output.mkdir()
    before = sorted(spec.launch.output.iterdir())

    said = command(spec, tmp_path)

    assert said.startswith(f"error: {spec.output}: cannot be written")
    assert sorted(spec.launch.output.iterdir()) == before


def test_the_picture_is_an_image_within_the_page(tmp_path):
    images = [attributes for tag, attributes in Tags(page_of(write_run(tmp_path))).found if tag == "img"]

    assert [str(image["src"]).partition(",")[0] for image in images] == ["data:image/svg+xml;base64"]
    assert PICTURE.startswith("<svg")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (wording.size(999), "999 B"),
        (wording.size(10_200), "10.2 kB"),
        (wording.size(398_400), "398 kB"),
        (wording.size(999_600), "1.00 MB"),
        (wording.duration(0.0406), "40.6 ms"),
        (wording.duration(4.385), "4.38 s"),
        (wording.duration(200), "3 min 20 s"),
        (wording.duration(7500), "2 h 05 min"),
        (wording.share(0.000097), "0.0097%"),
        (wording.share(0.3), "30%"),
        (wording.share(1.25), "125%"),
        (wording.share(0.0), "0%"),
        (wording.speed(96.04), "96.0"),
        (wording.speed(12_345.6), "12,300"),
        (wording.ratio(39.06), "39.1\N{MULTIPLICATION SIGN}"),
        (wording.quality("accuracy", 0.975), "97.5%"),
        (wording.quality("bits_per_byte", 2.34567), "2.346"),
    ],
)
def test_figures_are_worded_with_their_units(told, expected):
    assert told == expected


def test_rounds_that_were_not_judged_are_left_out_of_the_validation_plot(tmp_path):
    spec = write_run(tmp_path)
    for site in spec.launch.sites:
        events = site.work / "events.jsonl"
        events.write_text(re.sub(r'"metrics":\{[^}]*\}', '"metrics":{}', events.read_text(), count=5))

    assert len(draw_plots(read_figures(spec))) == len(PLOTS)
    for site in spec.launch.sites:
        events = site.work / "events.jsonl"
        events.write_text(re.sub(r'"metrics":\{[^}]*\}', '"metrics":{}', events.read_text()))
    with pytest.raises(UserError, match="aws-1 told no round's accuracy"):
        read_figures(spec)
