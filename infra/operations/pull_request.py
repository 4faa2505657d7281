"""What a pull request touches, and the one comment that it gets. `python -m infra.operations.pull_request` in CI."""

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Final

import typer

from infra.operations.markdown import cut
from infra.operations.review import LIMIT
from infra.operations.stack_files import settings_of
from infra.settings import ROOT, stack_config
from workloads.spec.errors import run_command

MARK: Final = "<!-- isthmus previews -->"
"""By which the comment is found again."""

_EVERY_STACK: Final = (
    "Pulumi.yaml",
    "infra/*",
    "locks/infra.txt",
    "locks/dev.txt",
    "workloads/planning/*",
    "workloads/recipes/*",
    "workloads/spec/*",
)
"""What every stack's declaration is made from."""
_NO_STACK: Final = ("infra/local/*", "infra/operations/*", "*.md")
"""Of these, what no cloud stack declares anything from."""

app = typer.Typer(add_completion=False, help=__doc__)


def stacks_touched(paths: Iterable[str], cloud_stacks: Iterable[str]) -> list[str]:
    """The stacks with clouds that a change of these files may change: a stack's own file, or what all are made from."""
    known, touched = set(cloud_stacks), set()
    for path in paths:
        own = path.removeprefix("stacks/Pulumi.").removesuffix(".yaml")
        if path == f"stacks/Pulumi.{own}.yaml":
            touched |= {own} & known
        elif _matches(path, _EVERY_STACK) and not _matches(path, _NO_STACK):
            return sorted(known)
    return sorted(touched)


def previewable(files: Iterable[Path]) -> list[str]:
    """Names of stacks whose clouds are real ones: those of emulators are on the machine of whoever runs them."""
    names = []
    for file in files:
        name = file.name.removeprefix("Pulumi.").removesuffix(".yaml")
        settings = settings_of(stack_config(file), name)
        if settings.cloud is not None and not settings.aws_site[1].endpoints:
            names.append(name)
    return sorted(names)


def combined(reviews: Mapping[str, str], log: str) -> str:
    """One comment of several stacks' reviews, each with an equal share of the room."""
    if not reviews:
        return f"{MARK}\nThis change touches no stack.\n"
    share = (LIMIT - 500) // len(reviews)
    parts = [cut(text.rstrip("\n").split("\n"), "", share).strip() for _, text in sorted(reviews.items())]
    return "\n\n".join([MARK, *parts, f"[Whole logs of all previews]({log})"]) + "\n"


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


@app.command()
def stacks(
    changed: Annotated[typer.FileText, typer.Argument(help="Paths, one a line; - reads standard input.")],
) -> None:
    """Print the stacks that changed paths touch, as JSON."""
    touched = stacks_touched(changed.read().split("\n"), previewable(sorted((ROOT / "stacks").glob("Pulumi.*.yaml"))))
    typer.echo(json.dumps(touched))


@app.command()
def comment(folder: Path, log: Annotated[str, typer.Option(help="Where the logs are.")]) -> None:
    """Print the comment made of every review in FOLDER, which are `STACK.md`."""
    reviews = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.rglob("*.md"))}
    typer.echo(combined(reviews, log), nl=False)


if __name__ == "__main__":
    run_command(app)
