"""Dockerfiles: small, unprivileged, locked, and without a secret in any layer."""

import re
from importlib.metadata import packages_distributions

import pytest

from infra.apps.pods import USER
from infra.images.sources import TRAINER_EFA, context_files, dockerfile
from infra.settings import ROOT
from tests.kit.dockerfiles import foreign, imported, parse

LOCKS = {"trainer": "train", "inference": "serve", "registry": "serve", "gateway": "infra"}
ENTRIES = {
    "trainer": [f"workloads.{part}.__main__" for part in ("trainer", "fusion", "compression", "report")],
    "inference": ["workloads.inference.__main__"],
    "registry": ["workloads.registry.__main__", "workloads.registry.server"],
    "gateway": ["infra.operations.__main__"],
}
# what pods run besides, by a module that imports what a verb needs
VERBS = {
    "trainer": [f"workloads.delivery.{part}" for part in ("__main__", "prepare", "runs")],
    "inference": ["workloads.delivery.__main__", "workloads.delivery.models"],
    "registry": ["workloads.delivery.__main__", "workloads.delivery.models"],
    "gateway": [],
}
SECRET = re.compile(r"password|passwd=|secret_|token|api_?key|credential", re.IGNORECASE)


@pytest.fixture(params=LOCKS)
def image(request):
    return request.param


@pytest.fixture
def text(image):
    return (ROOT / dockerfile(image)).read_text(encoding="utf-8")


@pytest.fixture
def parsed(text):
    return parse(text)


def copied(stage):
    """Paths of the context that a stage copies."""
    return [path for copy in stage.all("COPY") if "--from=" not in copy.rest for path in copy.operands[:-1]]


def test_every_dockerfile_is_known_here():
    names = {file.name.split(".")[0] for file in (ROOT / "infra" / "images").glob("*.Dockerfile")}
    assert names == {*LOCKS, TRAINER_EFA}  # which stands on the trainer and has a test of its own


def test_every_stage_stands_on_the_one_base_and_the_base_can_be_chosen(parsed):
    assert parsed.arguments["BASE"].startswith("docker.io/library/python:3.12-")
    assert [stage.base for stage in parsed.stages] == ["${BASE}", "python", "python"]


def test_a_base_without_python_gets_it(parsed):
    (run,) = parsed.stages[0].all("RUN")
    assert run.rest.startswith("if ! command -v python3")
    assert "python3-venv" in run.rest


def test_the_image_runs_as_a_number_that_is_not_root_and_knows_the_name_of_the_pods_user(parsed):
    assert [user.rest for user in parsed.final.all("USER")] == [f"{USER}:{USER}"]
    assert any(f"useradd --uid {USER} --gid {USER}" in run.rest for run in parsed.final.all("RUN"))
    after = parsed.final.instructions[[i.name for i in parsed.final.instructions].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & {instruction.name for instruction in after}


def test_packages_are_those_of_the_lock_file_by_hash(parsed, image):
    packages = parsed.stages[1]
    install = next(run.rest for run in packages.all("RUN") if "uv pip sync" in run.rest)
    assert re.search(rf"uv pip sync .*--require-hashes .*/locks/{LOCKS[image]}\.txt$", install)
    assert "pip install --no-cache-dir --require-hashes --requirement /locks/uv.txt" in install
    assert copied(packages) == ["locks/uv.txt", f"locks/{LOCKS[image]}.txt", "infra/images/sbom.py"]


def test_a_mirror_is_an_argument_of_the_build_stage_alone_and_its_password_a_mounted_secret(parsed, text):
    arguments = {stage.name: [arg.rest for arg in stage.all("ARG")] for stage in parsed.stages}
    assert arguments["packages"] == ["PIP_INDEX_URL=https://pypi.org/simple", "UV_INDEX_URL=https://pypi.org/simple"]
    assert [arg.partition("=")[0] for arg in arguments[parsed.final.name]] == ["VERSION"]
    assert "--mount=type=secret,id=netrc,target=/root/.netrc" in text
    assert "--mount=type=secret,id=authorities,target=/run/secrets/authorities" in text
    assert not any(".netrc" in copy.rest for stage in parsed.stages for copy in stage.all("COPY"))


def test_nothing_secret_is_an_argument_or_in_the_environment(parsed):
    for stage in parsed.stages:
        for instruction in (*stage.all("ARG"), *stage.all("ENV")):
            assert not SECRET.search(instruction.rest)


def test_nothing_of_the_build_stage_but_its_packages_comes_along(parsed):
    from_stage = [copy.rest for copy in parsed.final.all("COPY") if "--from=" in copy.rest]
    assert from_stage == ["--from=packages /opt/isthmus /opt/isthmus"]
    assert not any("pip" in run.rest or "uv " in run.rest for run in parsed.final.all("RUN"))


def test_the_root_can_be_read_only(parsed):
    environment = parsed.final.environment()
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment["HOME"] == "/tmp"  # noqa: S108 - the one place that a pod mounts
    assert not parsed.final.all("VOLUME")


def test_package_lists_and_caches_stay_out(parsed):
    for stage in parsed.stages:
        for run in stage.all("RUN"):
            if "apt-get install" in run.rest:
                assert "--no-install-recommends" in run.rest
                assert "rm -rf /var/lib/apt/lists/*" in run.rest
            assert "apt-get upgrade" not in run.rest
            assert "sudo" not in run.rest
            assert not re.search(r"(curl|wget)\s", run.rest)
        assert not stage.all("ADD")


def test_commands_are_lists_and_not_shells(parsed):
    for name in ("ENTRYPOINT", "CMD"):
        (instruction,) = parsed.final.all(name)
        assert instruction.rest.startswith("[")
    for check in parsed.final.all("HEALTHCHECK"):
        assert 'CMD ["python"' in check.rest


def test_services_say_how_they_are_and_jobs_do_not(parsed, image):
    assert (
        bool(parsed.final.all("HEALTHCHECK"))
        == bool(parsed.final.all("EXPOSE"))
        == (image in {"inference", "registry"})
    )


def test_labels_say_what_it_is(parsed, image):
    labels = dict(word.split("=", 1) for label in parsed.final.all("LABEL") for word in label.words)
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == f"isthmus-{image}"
    assert labels[f"{prefix}version"] == "${VERSION}"
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert f"{prefix}description" in labels


def test_the_context_lets_in_what_is_copied_and_no_more(parsed, image):
    wanted = {path for stage in parsed.stages for path in copied(stage)}
    ignore = (ROOT / f"{dockerfile(image)}.dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignore[1] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == wanted
    assert all((ROOT / path).exists() for path in wanted)


def test_everything_that_is_imported_is_there(image):
    there = set(context_files(ROOT, image))
    for module in imported(ROOT, ENTRIES[image], ("infra", "workloads")):
        path = module.replace(".", "/")
        files = [file for file in there if file.as_posix() in {f"{path}.py", f"{path}/__init__.py"}]
        assert files, f"{image} lacks {module}"


def test_every_package_that_loads_with_it_is_in_its_lock(image):
    lock = (ROOT / "locks" / f"{LOCKS[image]}.txt").read_text(encoding="utf-8")
    locked = {normalised(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    distributions = packages_distributions()
    for module, importer in foreign(ROOT, [*ENTRIES[image], *VERBS[image]], ("infra", "workloads")).items():
        held_by = {normalised(name) for name in distributions[module]}
        assert held_by & locked, f"{importer} imports {module}, which locks/{LOCKS[image]}.txt does not have"


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_trainer_has_its_recipes_and_the_services_have_no_infrastructure(image):
    names = [file.as_posix() for file in context_files(ROOT, image)]
    assert ("workloads/recipes/iris.yaml" in names) == (image in {"trainer", "gateway"})
    others = [name for name in names if name.startswith("infra/") and name != "infra/images/sbom.py"]
    assert bool(others) == (image == "gateway")
