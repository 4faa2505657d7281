"""Everything of a cloud stack that can be known to be wrong before money is spent."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.addressing import address_plan
from infra.cloud_checks import require_zones
from infra.cluster.catalogue import efa_interfaces, instance_facts
from infra.operations import preflight
from infra.operations.account_checks import account_checks
from infra.operations.checks import Check, failed, passed, tried, unknown
from infra.operations.cost import estimate, money
from infra.operations.planning import Facts
from infra.operations.project_checks import project_checks
from infra.operations.recovery import require_key
from infra.policy.kubernetes import DIGEST
from infra.providers import plugins_of
from infra.settings import Settings
from infra.toolchain.engine import HOME
from infra.toolchain.plugins import required
from workloads.planning import plan_run
from workloads.spec.recipe import load_recipe

_GIB: Final = 1 << 30

Environment = Mapping[str, str]


def check_clouds(settings: Settings, stack: str, state: Path, environment: Environment | None = None) -> list[Check]:
    """All checks: of the values, of this machine, and, where their credentials are here, of the accounts."""
    here = os.environ if environment is None else environment
    checks = [
        *check_values(settings),
        *_on_this_machine(settings, stack, state, here),
    ]
    aws, openstack = aws_credentials(here), openstack_credentials(settings, here)
    checks += [aws, openstack]
    checks += account_checks(settings) if aws.outcome == "passed" else []
    checks += project_checks(settings) if openstack.outcome == "passed" else []
    return checks


def check_values(settings: Settings) -> list[Check]:
    """Checks that need nothing but the stack's values. Pure."""
    looks: Sequence[tuple[str, Callable[[Settings], str]]] = (
        ("addresses", _addresses),
        ("instance types", _instance_types),
        ("EFA", _efa),
        ("zones of pools", _zones),
        ("plan of the run", _plan),
        ("trusted keys", require_key),
    )
    checks = [tried(subject, lambda look=look: look(settings)) for subject, look in looks]  # type: ignore[misc]
    return [*checks, *_budget(settings), *_images(settings)]


def _addresses(settings: Settings) -> str:
    plan = address_plan(settings)
    return f"VPC {plan.aws.vpc}, nodes {plan.openstack.nodes}, pods {plan.openstack.pods}, MTU {plan.tunnel_mtu}"


def _instance_types(settings: Settings) -> str:
    _, values = settings.aws_site
    return ", ".join(instance_facts(pool.name, pool.instance_type).name for pool in values.gpu_pools) or "no pools"


def _efa(settings: Settings) -> str:
    _, values = settings.aws_site
    pools = [pool for pool in values.gpu_pools if pool.efa]
    counts = [
        f"{pool.name}: {efa_interfaces(pool.name, instance_facts(pool.name, pool.instance_type))}" for pool in pools
    ]
    return ", ".join(counts) or "not asked for"


def _zones(settings: Settings) -> str:
    _, values = settings.aws_site
    require_zones(settings)
    return f"{values.zones} zones"


def _plan(settings: Settings) -> str:
    recipe = load_recipe(settings.training.recipe, settings.training.overrides)
    facts = Facts.of_settings(settings)
    plan = plan_run(recipe, facts.sites, facts.link)
    layouts = ", ".join(f"{name} {site.layout}" for name, site in plan.sites.items())
    return f"recipe {recipe.name}: {layouts}, {len(plan.rounds)} merges"


def _budget(settings: Settings) -> list[Check]:
    limit = settings.of_cloud.monthly_budget_usd
    now, most = estimate(settings), estimate(settings, largest=True)
    text = f"{money(now.low, now.high)} USD a month, {money(most.low, most.high)} with every pool at its largest"
    if now.high > limit:
        return [failed("budget", text, f"{limit:,}", "use fewer or smaller nodes, or raise cloud.monthly_budget_usd")]
    checks = [passed("budget", text, f"{limit:,}")]
    if now.unpriced:
        names = ", ".join(now.unpriced)
        checks.append(unknown("prices", names, "these are not in infra/operations/prices.yaml; add what you pay"))
    return checks


def _images(settings: Settings) -> list[Check]:
    given = settings.of_cloud.images
    names = {"trainer": given.trainer, "inference": given.inference, "registry": given.registry}
    names["trainer for EFA"] = given.trainer_efa
    named = {name: text for name, text in {**names, "vllm": given.vllm, "postgres": given.postgres}.items() if text}
    if settings.of_cloud.serving.runtime == "vllm" and given.vllm is None:
        return [failed("images", "vllm: none", "by reference", "set cloud.images.vllm, or cloud.serving.runtime: onnx")]
    tagged = [name for name, text in named.items() if given.pull != "Never" and not DIGEST.search(text)]
    if tagged:
        said = ", ".join(f"{name}: {named[name]}" for name in tagged)
        return [failed("images", said, "by digest", "write NAME@sha256:… (`docker buildx imagetools inspect NAME`)")]
    built = [name for name, text in names.items() if text is None]
    if built and shutil.which("docker") is None:
        remedy = "install Docker with buildx, or give the images by reference under cloud.images"
        return [failed("images", f"{', '.join(built)} are built here, no docker on PATH", "docker", remedy)]
    return [passed("images", f"{len(named)} by reference, {len(built)} built here")]


def _on_this_machine(settings: Settings, stack: str, state: Path, environment: Environment) -> list[Check]:
    home = Path(environment.get(HOME) or state / "pulumi")
    missing = [str(plugin) for plugin in required(plugins_of(settings)) if not plugin.is_installed(home)]
    remedy = "the first command fetches them; behind a closed network set ISTHMUS_PLUGINS to a folder of archives"
    return [
        unknown("plugins", f"not installed: {', '.join(missing)}", remedy)
        if missing
        else passed("plugins", "installed"),
        tried("passphrase", lambda: _passphrase(settings, stack, state, environment)),
        _password(settings),
    ]


def _passphrase(settings: Settings, stack: str, state: Path, environment: Environment) -> str:
    return f"by {next(iter(preflight.passphrase(settings, stack, state, environment)))}"


def _password(settings: Settings) -> Check:
    subject = "database password"
    if settings.of_cloud.database_password is None:
        return passed(subject, "drawn by the stack")
    remedy = "leave it out: the stack draws one and keeps it as a secret"
    return failed(subject, "in plain text in the stack's file", "no secret in a tracked file", remedy)


def aws_credentials(environment: Environment) -> Check:
    """Whether this machine has credentials of AWS; whether they are good, the account says."""
    subject = "credentials of AWS"
    for name in (
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ):
        if environment.get(name):
            return passed(subject, f"by {name}")
    home = Path(environment.get("HOME", "/"))
    files = [Path(environment.get("AWS_SHARED_CREDENTIALS_FILE", home / ".aws" / "credentials"))]
    files.append(Path(environment.get("AWS_CONFIG_FILE", home / ".aws" / "config")))
    found = next((file for file in files if file.is_file()), None)
    if found is not None:
        return passed(subject, f"by {found}")
    return failed(subject, "none", "a profile, keys or a role", "run `aws configure sso`, or set AWS_PROFILE")


def openstack_credentials(settings: Settings, environment: Environment) -> Check:
    """Whether this machine has the stack's entry of clouds.yaml, or an environment instead."""
    _, project = settings.openstack_site
    subject = "credentials of OpenStack"
    if project.cloud is None:
        if environment.get("OS_AUTH_URL"):
            return passed(subject, "by OS_AUTH_URL")
        return failed(subject, "none", "OS_… variables", "source the project's openrc, or name a cloud of clouds.yaml")
    home = Path(environment.get("HOME", "/"))
    places = [Path("clouds.yaml"), home / ".config" / "openstack" / "clouds.yaml", Path("/etc/openstack/clouds.yaml")]
    given = environment.get("OS_CLIENT_CONFIG_FILE")
    for file in [Path(given)] if given else places:
        if file.is_file():
            return _entry(subject, file, project.cloud)
    return failed(subject, "no clouds.yaml", f"an entry {project.cloud}", f"write it to {places[1]}")


def _entry(subject: str, file: Path, cloud: str) -> Check:
    names = preflight.clouds_in(file)
    if cloud in names:
        return passed(subject, f"{cloud} of {file}")
    return failed(subject, f"{file} has {', '.join(names) or 'no clouds'}", f"an entry {cloud}", "add it")
