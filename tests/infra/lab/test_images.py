"""The lab's images: what they are made of, and that one is built again only when that has changed."""

import re

import pytest

from infra.apps import pods
from infra.images.sources import context_files, dockerfile
from infra.settings import ROOT
from tests.kit.dockerfiles import parse
from tests.lab.daemons import LabError
from tests.lab.images import NAMES, catalogue, debian, workshop
from tests.lab.images.layout import Layout, reference
from tests.lab.images.locked import GPU_ONLY, without
from tests.lab.images.recipe import Recipe
from tests.lab.images.workshop import Workshop

LOCK = (ROOT / "locks/train.txt").read_text(encoding="utf-8")
PROJECT = {"registry": "serve", "inference": "serve", "trainer-locked": "train"}


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def pins(lock):
    return re.findall(r"^[\w.-]+==\S+", lock, re.MULTILINE)


def test_a_lock_without_gpus_lacks_cuda_and_nothing_else():
    lacking = set(pins(LOCK)) - set(pins(without(LOCK, GPU_ONLY)))
    assert {pin.partition("==")[0].split("-")[0] for pin in lacking} == {"nvidia", "cuda", "triton"}
    assert "torch==2" in without(LOCK, GPU_ONLY)


def test_a_package_goes_with_its_hashes_and_the_rest_stays_to_the_letter():
    lock = "a==1 \\\n    --hash=sha256:00\n    # via b\nnvidia-x==2 \\\n    --hash=sha256:11\nb==1 \\\n    --hash=sha256:22\n"
    kept = "a==1 \\\n    --hash=sha256:00\n    # via b\nb==1 \\\n    --hash=sha256:22\n"
    assert without(lock, GPU_ONLY) == kept


@pytest.mark.parametrize("name", list(PROJECT))
def test_the_platforms_images_are_of_its_own_dockerfiles_and_of_what_those_copy(name, layout):
    image = name.removesuffix("-locked")
    made = catalogue.recipe(name, layout)
    assert made.dockerfile == (ROOT / dockerfile(image)).read_text(encoding="utf-8")
    assert set(made.files) == {path.as_posix() for path in context_files(ROOT, image)}
    assert made.bases == {"BASE": "debian"}


def test_the_trainers_lock_is_the_one_file_that_differs(layout):
    for name in PROJECT:
        files = catalogue.recipe(name, layout).files
        copies = {place: content for place, content in files.items() if isinstance(content, bytes)}
        assert all(place.startswith("locks/") for place in copies)
        differing = [place for place, content in copies.items() if (ROOT / place).read_bytes() != content]
        assert differing == (["locks/train.txt"] if name == "trainer-locked" else [])


@pytest.mark.parametrize(("name", "lock"), PROJECT.items())
def test_packages_are_a_stage_that_stays_while_the_code_changes(name, lock, layout):
    image = name.removesuffix("-locked")
    made = catalogue.recipe(f"{image}-packages", layout)
    assert set(made.files) == {"locks/uv.txt", f"locks/{lock}.txt", "infra/images/sbom.py"}
    assert (made.target, made.exported) == ("packages", False)
    assert f"{image}-packages" in catalogue.KEPT
    assert catalogue.recipe(name, layout).after == f"{image}-packages"


def test_the_trainer_of_the_lab_runs_as_the_trainer():
    text = (catalogue.HERE / "trainer.Dockerfile").read_text(encoding="utf-8")
    assert parse(text).final.all("USER")[-1].rest == f"{pods.USER}:{pods.USER}"


def test_the_base_is_of_the_release_that_the_platforms_own_base_has():
    assert (
        parse((ROOT / dockerfile("inference")).read_text(encoding="utf-8")).arguments["BASE"].endswith(debian.release())
    )


def test_every_image_of_the_stack_is_made(layout):
    stack = (ROOT / "stacks/Pulumi.lab.yaml").read_text(encoding="utf-8")
    wanted = set(re.findall(r"localhost/([\w-]+:\w+)", stack))
    assert wanted
    assert wanted <= {reference(name).removeprefix("localhost/") for name in NAMES}


def test_no_dockerfile_of_the_lab_keeps_lists_of_packages():
    for path in catalogue.HERE.glob("*.Dockerfile"):
        for stage in parse(path.read_text(encoding="utf-8")).stages:
            for run in stage.all("RUN"):
                assert ("apt-get install" in run.rest) == ("rm -rf /var/lib/apt/lists/*" in run.rest)


def test_an_unknown_image_is_refused_with_those_that_there_are(layout):
    with pytest.raises(LabError, match=r"no image is called 'trainee'; there are pause, .*trainer"):
        catalogue.recipe("trainee", layout)


@pytest.mark.parametrize("name", ["kueue", "istiod", "proxyv2"])
def test_a_controller_that_was_not_built_is_named_with_what_builds_it(name, layout):
    with pytest.raises(LabError, match=r"cluster/bin/[\w-]+ is not there: `python -m tests.lab.cluster build`"):
        catalogue.recipe(name, layout)


def test_a_controller_is_its_binaries_and_starts_the_first(tmp_path):
    made = catalogue.controller({"manager": tmp_path / "built", "other": tmp_path / "another"})
    assert set(made.files) == {"manager", "other"}
    assert 'ENTRYPOINT ["/manager"]' in made.dockerfile
    assert made.bases == {}


@pytest.fixture
def tool(tmp_path):
    path = tmp_path / "tool"
    path.write_text("1", encoding="utf-8")
    return path


def test_a_key_stays_while_nothing_of_the_image_changes(tool):
    before = Recipe("FROM scratch", {"tool": tool}).key(["base"])
    tool.write_text("1", encoding="utf-8")
    assert Recipe("FROM scratch", {"tool": tool}).key(["base"]) == before


@pytest.mark.parametrize("change", ["base", "dockerfile", "content", "mode", "place", "argument"])
def test_a_key_changes_with_whatever_the_image_is_made_of(tool, change):
    before = Recipe("FROM scratch", {"tool": tool}).key(["base"])
    if change == "content":
        tool.write_text("2", encoding="utf-8")
    if change == "mode":
        tool.chmod(0o755)
    after = Recipe(
        "FROM scratch AS x" if change == "dockerfile" else "FROM scratch",
        {"bin/tool" if change == "place" else "tool": tool},
        arguments={"VERSION": "2"} if change == "argument" else {},
    )
    assert after.key(["other" if change == "base" else "base"]) != before


def test_a_context_is_laid_with_its_modes_and_without_its_times(tool, tmp_path):
    tool.chmod(0o755)
    Recipe("", {"bin/tool": tool, "lock": b"text"}).lay(tmp_path / "context")
    laid = tmp_path / "context/bin/tool"
    assert (laid.stat().st_mode, laid.stat().st_mtime) == (tool.stat().st_mode, 0)
    assert (tmp_path / "context/lock").read_bytes() == b"text"


class Builder:
    """buildah, which notes what it is asked for."""

    def __init__(self):
        self.built, self.there = [], set()

    def has(self, image):
        return image in self.there

    def build(self, image, dockerfile, context, log, arguments, secrets, target):
        self.built.append((image, dict(arguments)))
        self.there.add(image)

    def export(self, image, archive, log):
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.write_text(image, encoding="utf-8")

    def keep(self, images):
        self.there &= set(images)


@pytest.fixture
def recipes(monkeypatch):
    """A tool on a base on Debian."""
    found = {
        "tool": Recipe("FROM x AS y", {"a": b"1"}, {"BASE": "middle"}),
        "middle": Recipe("FROM x", {"b": b"1"}, arguments={"VERSION": "lab"}, exported=False, after="stage"),
        "stage": Recipe("FROM x", {}, target="s", exported=False, kept=True),
    }
    monkeypatch.setattr(workshop, "recipe", lambda name, layout: found[name])
    monkeypatch.setattr(workshop, "KEPT", ("debian", "stage"))
    monkeypatch.setattr(debian, "lay", lambda folder: "FROM scratch")
    return found


@pytest.fixture
def built(layout, recipes):
    """A builder that has made the tool."""
    layout.store.mkdir()
    builder = Builder()
    make(layout, builder)
    return builder


def make(layout, builder):
    shop = Workshop(layout, builder)
    shop.make("tool")
    shop.clear()


def test_bases_are_built_first_and_given_as_an_argument(layout, built):
    assert built.built == [
        ("localhost/debian:1", {}),
        ("localhost/stage:1", {"BASE": "localhost/debian:1"}),
        ("localhost/middle:1", {"VERSION": "lab", "BASE": "localhost/debian:1"}),
        ("localhost/tool:1", {"BASE": "localhost/middle:1"}),
    ]
    assert [path.name for path in layout.images.iterdir()] == ["tool.tar"]


def test_what_no_later_build_begins_with_leaves_the_store(built):
    assert built.there == {"localhost/debian:1", "localhost/stage:1"}


def test_what_is_up_to_date_is_not_built_again(layout, built):
    built.built.clear()
    make(layout, built)
    assert built.built == []


def test_what_changed_is_built_again_with_all_that_stands_on_it(layout, built, recipes):
    built.built.clear()
    recipes["middle"] = Recipe("FROM x", {"b": b"2"}, exported=False, after="stage")
    make(layout, built)
    assert [image for image, _ in built.built] == ["localhost/middle:1", "localhost/tool:1"]


def test_an_archive_that_is_gone_is_made_again(layout, built):
    built.built.clear()
    layout.archive("tool").unlink()
    make(layout, built)
    assert [image for image, _ in built.built] == ["localhost/middle:1", "localhost/tool:1"]


def test_an_export_that_fails_leaves_nothing_that_looks_up_to_date(layout, built, recipes, monkeypatch):
    def fail(*_):
        raise LabError("no room")

    before, export = recipes["tool"], built.export
    recipes["tool"] = Recipe("FROM x AS y", {"a": b"2"}, {"BASE": "middle"})
    monkeypatch.setattr(built, "export", fail)
    with pytest.raises(LabError):
        make(layout, built)
    recipes["tool"] = before
    built.built.clear()
    monkeypatch.setattr(built, "export", export)
    make(layout, built)
    assert "localhost/tool:1" in [image for image, _ in built.built]
