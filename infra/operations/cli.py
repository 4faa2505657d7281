"""`isthmus`: the stack's life from a terminal. Each command is a real `pulumi` command with its surroundings in order."""

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from infra.cloud_picture import cloud_picture
from infra.local.probes import post_json
from infra.operations import preflight
from infra.operations.checks import preflight_report
from infra.operations.cloud_preflight import check_clouds
from infra.operations.cost import cost_report
from infra.operations.diagram import PlatformPicture, draw
from infra.operations.planning import Facts, plan_report
from infra.operations.previewing import cost_difference, run_preview
from infra.operations.recovery import recovery_values
from infra.operations.review import review as render_review
from infra.operations.session import BACKEND, Session, open_session, stack_file, stack_settings
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
    _end(session.run("up", "--yes", *_guarded(session), "--refresh", "--suppress-outputs", *_config(session)))
    show(console, session.ask("stack", "output", "--json"))


@app.command()
def preview(stack: Stack = "local", recipe: Recipe = "", settings: Setting = None, state: State = STATE) -> None:
    """Show what `up` would do. Starts nothing and changes nothing."""
    session = _open(stack, recipe, settings, state, check=False)
    _end(session.run("preview", *(session.policy() if session.settings.cloud else []), *_config(session)))


@app.command()
def review(
    stack: Stack = "local",
    recipe: Recipe = "",
    settings: Setting = None,
    state: State = STATE,
    log: Annotated[Path | None, typer.Option(help="Leave the engine's whole stream of events here.")] = None,
    link: Annotated[str | None, typer.Option(help="Where readers find that log.")] = None,
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print it as the pull request's comment has it.")
    ] = False,
) -> None:
    """Show what `up` would do as a reviewer sees it: lost state first, policy, cost, changes. Ends with 1 if refused."""
    session = _open(stack, recipe, settings, state, check=False)
    made = run_preview(session, log)
    text = render_review(stack, made, cost_difference(made, session.settings), link)
    if markdown:
        typer.echo(text, nl=False)
    else:
        console.print(Markdown(text))
    _end(0 if made.succeeded else 1)


@app.command()
def cost(stack: Stack = "dev", settings: Setting = None) -> None:
    """Show what a stack with clouds costs in a month, by its values. Asks nobody."""
    console.print(cost_report(stack_settings(stack, settings or []), stack))


@app.command("preflight")
def run_preflight(stack: Stack = "local", settings: Setting = None, state: State = STATE) -> None:
    """Check all that can be known before anything is made. Ends with 1 if something would fail."""
    chosen = stack_settings(stack, settings or [])
    if chosen.cloud is None:
        preflight.check(chosen, ROOT)
        console.print(f"stack {stack} is ready: recipe, disk and ports")
        return
    checks = check_clouds(chosen, stack, state.absolute())
    console.print(preflight_report(checks, stack))
    _end(int(any(check.failed for check in checks)))


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
def recovery(stack: Stack = "prod", state: State = STATE) -> None:
    """Print what a copy for a disaster must know of a stack: keep it elsewhere, and put it into the copy's stack file."""
    made = _open(stack, "", None, state, check=False).ask("stack", "output", "--json")
    typer.echo(recovery_values(made, stack), nl=False)


@app.command()
def diagram(
    stack: Stack = "local",
    state: State = STATE,
    output: Annotated[Path, typer.Option("--output", "-o", help="The SVG file to write.")] = STATE / "platform.svg",
) -> None:
    """Write the platform's picture: of a stack on this machine as it stands, of one with clouds as its values say."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(draw(_picture(stack, state)), encoding="utf-8")
    console.print(str(output))


@app.command()
def plan(
    stack: Stack = "local",
    recipe: Recipe = "",
    settings: Setting = None,
    facts: Annotated[Path | None, typer.Option("--facts", help="Plan from this YAML file of sites and link.")] = None,
    state: State = STATE,
) -> None:
    """Show what a run would be made of, and why: layout, batches, merges, predicted time and memory. Starts nothing."""
    values = stack_settings(stack, _overrides(recipe, settings))
    wanted = load_recipe(values.training.recipe, values.training.overrides)
    if facts is not None:
        known = Facts.of_file(facts)
    elif values.cloud is not None:
        known = Facts.of_settings(values)
    elif stack_file(state.absolute() / BACKEND, stack).is_file():
        known = Facts.of_outputs(_open(stack, "", None, state, check=False).ask("stack", "output", "--json"), stack)
    else:  # no engine is needed to say so
        known = Facts.of_outputs({}, stack)
    console.print(plan_report(wanted, known))


@app.command()
def watch(
    stack: Stack = "local", *, once: Annotated[bool, typer.Option(help="Show how it stands, and end.")] = False
) -> None:
    """Watch the newest training run of a stack: progress, loss, waiting and bytes by site. Only reads."""
    local = stack_settings(stack, []).local
    if local is None:
        raise UserError(f"stack {stack} has no sites on this machine; look at its registry's page instead")
    launches = sorted(
        (ROOT / local.folder / "jobs").glob("training-*/launch.json"), key=lambda path: path.stat().st_mtime
    )
    if not launches:
        raise UserError(f"stack {stack} has no training run; run `make up STACK={stack}` first")
    command = [sys.executable, "-m", "workloads.trainer.watching", str(launches[-1]), *(["--once"] if once else [])]
    sys.exit(subprocess.run(command, cwd=ROOT, check=False).returncode)


@app.command()
def outage(
    seconds: Annotated[float, typer.Option(help="How long the link is cut.", min=0.1, max=3600)] = 10.0,
    stack: Stack = "local",
    state: State = STATE,
) -> None:
    """Cut the link between the sites for a while, as a bad day would."""
    if stack_settings(stack, []).local is None:
        raise UserError(f"stack {stack} has no link of this machine's; only an emulated one has a switch")
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


def _picture(stack: str, state: Path) -> PlatformPicture:
    values = stack_settings(stack, [])
    if values.cloud is not None:
        return cloud_picture(values, load_recipe(values.training.recipe, values.training.overrides))
    session = _open(stack, "", None, state, check=False)
    made = session.ask("stack", "output", "--json")
    if "model" not in made:
        raise UserError(f"stack {stack} is not up; run `make up STACK={stack}` first")
    return picture(session.settings, load_recipe(made["model"]["recipe"]), made)


def _open(stack: str, recipe: str, settings: list[str] | None, state: Path, *, check: bool = True) -> Session:
    return open_session(stack, _overrides(recipe, settings), state.absolute(), check=check)


def _overrides(recipe: str, settings: list[str] | None) -> list[str]:
    return [*(settings or []), *([f"training.recipe={recipe}"] if recipe else [])]


def _guarded(session: Session) -> list[str]:
    """With clouds, a preview with the policy pack comes first: rules about a whole stack speak at its end, before money."""
    return session.policy() if session.settings.cloud else ["--skip-preview"]


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
