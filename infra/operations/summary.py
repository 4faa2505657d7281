"""What a person sees at the end of `up`: where everything is, and one line that works."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from workloads.spec.data import TableData
from workloads.spec.recipe import MlpModel, Recipe, load_recipe

# A flower of the species setosa, in centimetres: the first row of Fisher's table.
_EXAMPLE_ROW = [5.1, 3.5, 1.4, 0.2]


def show(console: Console, outputs: dict[str, Any]) -> None:
    """Print the exports of a stack as a table, with a `curl` line under it."""
    if "endpoints" not in outputs:
        console.print("nothing is up; run `make up`")
        return
    console.print(_table(outputs))
    first = next(iter(outputs["endpoints"].values()))
    # a line to be copied: the terminal may wrap it, but nothing cuts it
    console.print(f"\n{curl_line(first, outputs['model']['recipe'])}", soft_wrap=True, markup=False, highlight=False)


def _table(outputs: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for site, endpoint in outputs["endpoints"].items():
        table.add_row(f"endpoint {site}", endpoint)
    table.add_row("plan", _plan(outputs["plan"]))
    for label, text in _of_job(outputs) if "job" in outputs["run"] else _of_run(outputs):
        table.add_row(label, text)
    return table


def _of_job(outputs: dict[str, Any]) -> list[tuple[str, str]]:
    """Of a cluster: the run is a job there, which the queue starts when it may."""
    link, run = outputs["link"], outputs["run"]
    return [
        *((f"door {site}", _where(address)) for site, address in outputs["doors"].items()),
        ("registry", f"{outputs['registry']} (inside the cluster)"),
        ("run", f"{run['id']}, submitted as JobSet {run['job']}"),
        ("cluster", f"{outputs['cluster']['name']} at {outputs['cluster']['endpoint']}"),
        ("link", f"{link['rate_mbps']:g} Mbit/s, {link['rtt_ms']:g} ms; MTU {link['mtu']}, of pods {link['pod_mtu']}"),
    ]


def _where(address: str) -> str:
    """Where the endpoint's name has to lead; without a load balancer that is a name of the cluster's own."""
    return f"{address} (inside the cluster)" if address.endswith(".svc") else address


def _of_run(outputs: dict[str, Any]) -> list[tuple[str, str]]:
    """Of this machine: the run is finished, and its model is served."""
    link, compression, model = outputs["link"], outputs["compression"], outputs["model"]
    ratio = link["bytes_of_ddp"] / max(1, link["bytes"])
    before, after = compression["before"], compression["after"]
    crossed = f"{link['bytes']:,} bytes, {ratio:.0f} times fewer than DDP"
    return [
        ("registry", model["page"]),
        ("report", _from_here(outputs["report"])),
        ("model", f"{model['name']} version {model['version']}, signed, run {outputs['run']['id']}"),
        ("quality", f"{compression['metric']} {before:.4f} trained, {after:.4f} pruned and int8"),
        ("link", f"{link['rate_mbps']:g} Mbit/s, {link['rtt_ms']:g} ms; {crossed}"),
    ]


def _plan(plan: dict[str, Any]) -> str:
    layouts = ", ".join(f"{name} {site['layout']}" for name, site in plan["sites"].items())
    merges = f"{plan['rounds']} merges, {plan['steps_of_a_round']} steps apart, {plan['bits']} bits a value"
    return f"{merges}, {plan['overlap_steps']} steps overlapped; {layouts} (`isthmus plan` says why)"


def _from_here(path: str) -> str:
    """A path that is short enough to be copied, where it lies below the current folder."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def curl_line(endpoint: str, recipe_name: str) -> str:
    """A request that the served model answers."""
    recipe = load_recipe(recipe_name)
    path, body = _example(recipe)
    sent = f" -H 'content-type: application/json' -d '{json.dumps(body)}'" if body else ""
    return f"curl -s {endpoint}{path}{sent}"


def _example(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """Path and body of a request; no body asks what a request must hold, where that is too much for a line."""
    if isinstance(recipe.model, MlpModel):
        is_iris = isinstance(recipe.data, TableData) and recipe.data.source == "iris"
        row = _EXAMPLE_ROW if is_iris else [1.0] * recipe.model.inputs
        tensor = {"name": "features", "shape": [1, len(row)], "datatype": "FP32", "data": row}
        return f"/v2/models/{recipe.name}/infer", {"inputs": [tensor]}
    if "openai-completions" not in recipe.serve.protocols:
        return f"/v2/models/{recipe.name}", {}
    prompt = {"prompt": "class Error(", "max_tokens": 120, "temperature": 0.7, "seed": 1}
    return "/v1/completions", {"model": recipe.name, **prompt}
