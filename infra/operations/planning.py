"""What a run would be made of, before it is made: the plan from a stack's facts or from a file of them, as tables."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError
from rich.console import Group
from rich.table import Table
from rich.text import Text

from infra.apps.launching import site_parts
from infra.cluster.pools import declared_pools
from infra.settings import Settings
from workloads.planning import plan_run
from workloads.planning.size import parameter_count
from workloads.spec.base import Frozen
from workloads.spec.errors import UserError, explain
from workloads.spec.facts import SiteFacts
from workloads.spec.launch import LinkFacts
from workloads.spec.plan import Plan
from workloads.spec.recipe import Recipe, load_recipe


class Facts(Frozen):
    """What a plan is made from: a stack's outputs, or a file of `sites:` and `link:`."""

    sites: tuple[SiteFacts, ...] = Field(min_length=1)
    link: LinkFacts

    @classmethod
    def of_file(cls, path: Path) -> "Facts":
        """Facts from YAML or JSON. Raises `UserError`."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; give one with sites: and link:") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
        except ValidationError as error:
            raise UserError(explain(error, str(path))) from None

    @classmethod
    def of_outputs(cls, outputs: dict[str, Any], stack: str) -> "Facts":
        """Facts of a stack that is up. Raises `UserError` for one that is not."""
        if "sites" not in outputs or "link" not in outputs:
            raise UserError(
                f"stack {stack} is not up, so its sites and link were never measured; run `make up STACK={stack}`, or "
                "give --facts FILE"
            )
        link = {key: outputs["link"][key] for key in LinkFacts.model_fields}
        return cls.model_validate({"sites": list(outputs["sites"].values()), "link": link})

    @classmethod
    def of_settings(cls, settings: Settings) -> "Facts":
        """Facts of a stack with clouds: its values say what there will be, so nothing has to be up.

        Raises:
            UserError: an instance type is unknown, or a site has nothing to train on.
        """
        recipe = load_recipe(settings.training.recipe, settings.training.overrides)
        names = [site.name for site in settings.sites]
        parts = site_parts(recipe, names, declared_pools(settings), settings.of_cloud.serving)
        (link,) = settings.links
        return cls(
            sites=tuple(part.facts for part in parts.values()),
            link=LinkFacts(rate_mbps=link.rate, rtt_ms=link.rtt_ms),
        )


def plan_report(recipe: Recipe, facts: Facts) -> Group:
    """Tables of the plan of `recipe`. Raises `UserError` when there can be none."""
    plan = plan_run(recipe, facts.sites, facts.link)
    return Group(_title(recipe, plan, facts), _sites(plan), Text(), _choices(plan))


def _title(recipe: Recipe, plan: Plan, facts: Facts) -> Text:
    size = f"{parameter_count(recipe):,} parameters" if plan.prediction else "a model of unknown size"
    link = f"{facts.link.rate_mbps:g} Mbit/s, {facts.link.rtt_ms:g} ms"
    return Text(f"{recipe.name}: {size}, {plan.steps:,} steps at {len(plan.sites)} sites, {link}\n", style="bold")


def _sites(plan: Plan) -> Table:
    table = Table("site", "layout", box=None, padding=(0, 2, 0, 0))
    for column in ("batch", "micro-batch", "step", "memory of a worker"):
        table.add_column(column, justify="right")
    for name, site in plan.sites.items():
        step = _seconds(site.step_s) if site.step_s else "not known"
        memory = _bytes(site.memory_bytes) if site.memory_bytes else "not known"
        table.add_row(name, str(site.layout), str(site.batch), str(site.micro_batch), step, memory)
    return table


def _choices(plan: Plan) -> Table:
    table = Table("choice", "value", "why", box=None, padding=(0, 2, 0, 0))
    table.columns[2].overflow = "fold"
    for name, value, reason in _rows(plan):
        table.add_row(name, value, plan.reasons.get(reason, "") if reason else "")
    return table


def _rows(plan: Plan) -> list[tuple[str, str, str]]:
    first, expected = plan.rounds[0], plan.prediction
    rows = [
        ("layout", ", ".join(sorted({str(site.layout) for site in plan.sites.values()})), "layout"),
        ("batch", " + ".join(str(site.batch) for site in plan.sites.values()), "batch"),
        ("micro-batch", ", ".join(str(site.micro_batch) for site in plan.sites.values()), "micro_batch"),
        ("precision", plan.precision, "precision"),
        ("checkpointing", "on" if plan.activation_checkpointing else "off", "activation_checkpointing"),
        ("steps a round (H)", f"{first.steps}, {len(plan.rounds)} rounds", "steps"),
        ("bits a value", str(plan.bits), "bits"),
        ("fragments", str(plan.fragments), "fragments"),
        ("overlap (tau)", f"{plan.overlap_steps} steps", "overlap_steps"),
        ("outer step", f"lr {first.lr:g}, momentum {first.momentum:g}", "outer"),
    ]
    if expected is None:
        return [*rows, ("predicted", "nothing", "prediction")]
    return [
        *rows,
        ("a round on the link", f"{_bytes(expected.round_bytes)} to each peer", ""),
        ("link use", f"{expected.link_use:.1%}", ""),
        ("a step with merges", _seconds(expected.step_s), ""),
        ("the whole run", _seconds(expected.total_s), ""),
    ]


def _seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 600:
        return f"{value:.3g} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"
