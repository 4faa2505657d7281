"""`python -m workloads.delivery VERB SPEC.json`: what a pod does before and after its own work.

`prepare` makes a site's data, `collect` gets a run's result, `publish` puts a model into every site's store, `fetch`
gets it from the site's own. `keep` puts a backup into a store, `recall` gets it.
"""

import argparse
from pathlib import Path

from workloads.delivery.depot import Depot
from workloads.spec.delivery import BackupLaunch, CollectLaunch, FetchLaunch, PublishLaunch
from workloads.spec.errors import run_command
from workloads.spec.launch import LaunchSpec


def main() -> None:
    """Do what the command line says. A verb imports what it alone needs."""
    arguments = _parser().parse_args()
    match arguments.verb:
        case "prepare":
            from workloads.delivery.prepare import prepare  # noqa: PLC0415

            made = prepare(LaunchSpec.load(arguments.spec), arguments.site, arguments.folder)
            _say(f"{made.site}: {made.samples} samples, {made.held_out_samples} held out, data {made.data_digest[:12]}")
        case "collect":
            from workloads.delivery.runs import collect  # noqa: PLC0415

            result = collect(CollectLaunch.load(arguments.spec), _say)
            _say(f"run {result.run_id}: {result.rounds} rounds, {result.parameters:,} parameters")
        case "publish":
            from workloads.delivery.models import publish  # noqa: PLC0415

            publish(PublishLaunch.load(arguments.spec), _say)
        case "keep":
            backup = BackupLaunch.load(arguments.spec)
            Depot(backup.stores[0]).keep(backup.file, backup.name)
            _say(f"{backup.name} is kept in {backup.stores[0].address}")
        case "recall":
            backup = BackupLaunch.load(arguments.spec)
            found = (store.address for store in backup.stores if Depot(store).recall(backup.name, backup.file))
            _say(f"{backup.name}: from {next(found, 'nowhere, there is none')}")
        case _:
            from workloads.delivery.models import fetch  # noqa: PLC0415

            fetch(FetchLaunch.load(arguments.spec), _say)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workloads.delivery", description="Move data, results and models.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, schema in {
        "prepare": LaunchSpec,
        "collect": CollectLaunch,
        "publish": PublishLaunch,
        "fetch": FetchLaunch,
        "keep": BackupLaunch,
        "recall": BackupLaunch,
    }.items():
        command = verbs.add_parser(verb)
        command.add_argument("spec", type=Path, help=f"{schema.__name__} as JSON")
        if verb == "prepare":
            command.add_argument("--site", required=True, help="name of the site whose data to make")
            command.add_argument("--folder", type=Path, help="in place of the site's own data folder")
    return parser


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the interface of a command


if __name__ == "__main__":
    run_command(main)
