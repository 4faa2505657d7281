"""`isthmus`: the stack's life from a terminal. Each command is a real `pulumi` command with its surroundings in order."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from infra.local.probes import post_json
from infra.operations.diagram import draw
from infra.operations.session import Session, open_session
from infra.operations.summary import show
from infra.picture import picture
from infra.settings import ROOT
from infra.toolchain.engine import ensure_engine
from workloads.spec.errors import UserError, run_command
from workloads.spec.recipe import load_recipe

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
console = Console()

Stack = Annotated[str, typer.Option("--stack", "-s", help="A stack of stacks/, such as local.")]
Recipe = Annotated[str, typer.Option("--recipe", "-r", help="Train this recipe instead of the stack's.")]
Setting = Annotated[list[str] | None, typer.Option("--set", help="Another value for this run, PATH=VALUE.")]
State = Annotated[Path, typer.Option("--state", envvar="ISTHMUS_STATE", help="Where generated state lives.")]
STATE = ROOT / ".state"


@app.command()
def up(stack: Stack = "local", recipe: Recipe = "", settings: Setting = None, state: State = STATE) -> None:
    """Make what the stack declares, heal what has died, and say where it answers."""
    session = _open(stack, recipe, settings, state)
    if names := session.interrupted():
        console.print(f"finishing what was interrupted: {', '.join(names)}")
        _end(session.run("refresh", "--yes", "--skip-preview", "--clear-pending-creates", *_config(session)))
    _end(session.run("up", "--yes", "--skip-preview", "--refresh", "--suppress-outputs", *_config(session)))
    show(console, session.ask("stack", "output", "--json"))


@app.command()
def preview(stack: Stack = "local", recipe: Recipe = "", settings: Setting = None, state: State = STATE) -> None:
    """Show what `up` would do. Starts nothing and changes nothing."""
    session = _open(stack, recipe, settings, state, check=False)
    _end(session.run("preview", *_config(session)))


@app.command()
def refresh(stack: Stack = "local", state: State = STATE) -> None:
    """Look at what is really there and write it into the state."""
    session = _open(stack, "", None, state, check=False)
    _end(session.run("refresh", "--yes", "--skip-preview", *_config(session)))


@app.command()
def down(stack: Stack = "local", state: State = STATE) -> None:
    """Destroy everything that the stack made."""
    session = _open(stack, "", None, state, check=False)
    _end(session.run("destroy", "--yes", "--skip-preview", *_config(session)))


@app.command()
def outputs(stack: Stack = "local", state: State = STATE) -> None:
    """Print what the last `up` printed at its end."""
    show(console, _open(stack, "", None, state, check=False).ask("stack", "output", "--json"))


@app.command()
def diagram(
    stack: Stack = "local",
    state: State = STATE,
    output: Annotated[Path, typer.Option("--output", "-o", help="The SVG file to write.")] = STATE / "platform.svg",
) -> None:
    """Write the platform's picture, drawn from the stack as it stands."""
    session = _open(stack, "", None, state, check=False)
    made = session.ask("stack", "output", "--json")
    if "model" not in made:
        raise UserError(f"stack {stack} is not up; run `make up STACK={stack}` first")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(draw(picture(session.settings, load_recipe(made["model"]["recipe"]), made)), encoding="utf-8")
    console.print(str(output))


@app.command()
def outage(
    seconds: Annotated[float, typer.Option(help="How long the link is cut.", min=0.1, max=3600)] = 10.0,
    stack: Stack = "local",
    state: State = STATE,
) -> None:
    """Cut the link between the sites for a while, as a bad day would."""
    made = _open(stack, "", None, state, check=False).ask("stack", "output", "--json")
    switch = made.get("link", {}).get("outage_switch")
    if not switch:
        raise UserError(f"stack {stack} has no link yet; run `make up STACK={stack}` first")
    try:
        post_json(switch, {"on": True, "seconds": seconds})
    except OSError as error:
        raise UserError(f"the link's switch at {switch} does not answer ({error}); run `make up`") from None
    console.print(f"the link is cut for {seconds:g} s")


@app.command()
def engine(state: State = STATE) -> None:
    """Make sure that a Pulumi engine is there, and say which."""
    found = ensure_engine(state)
    table = Table(show_header=False, box=None)
    table.add_row("engine", str(found.path))
    table.add_row("version", str(found.version))
    console.print(table)


def _open(stack: str, recipe: str, settings: list[str] | None, state: Path, *, check: bool = True) -> Session:
    chosen = [*(settings or []), *([f"training.recipe={recipe}"] if recipe else [])]
    return open_session(stack, chosen, state.absolute(), check=check)


def _config(session: Session) -> list[str]:
    return ["--config-file", str(session.files.config)]


def _end(status: int) -> None:
    """The engine has said why; its status is ours."""
    if status:
        sys.exit(status)


def main() -> NoReturn:
    """Entry point of the command `isthmus`."""
    with contextlib.suppress(BrokenPipeError):
        run_command(lambda: app(standalone_mode=True))
    sys.exit(1)


if __name__ == "__main__":
    main()
