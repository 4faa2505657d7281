"""The only reader of stack configuration: parsed once, whole, frozen. Everything later works on values."""

import json
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, JsonValue, ValidationError, model_validator

from infra.cloud_settings import AwsSettings, CloudSettings, OpenStackSettings, Setting
from infra.fields import Bandwidth, BasePort, RoundTripMs, Workers
from workloads.spec.advice import advise
from workloads.spec.base import Name, SiteName
from workloads.spec.errors import UserError

PROJECT = "isthmus"
ROOT = Path(__file__).resolve().parent.parent

SiteKind = Literal["local", "aws", "openstack"]


class SiteSettings(Setting):
    """One site. A `local` site runs on this machine and may say which cloud it stands for in pictures and labels."""

    name: SiteName
    kind: SiteKind
    stands_for: Literal["aws", "openstack"] | None = None
    workers: Workers = 1  # of a local site; a cloud's are counted from its GPUs
    aws: AwsSettings | None = None
    openstack: OpenStackSettings | None = None

    @model_validator(mode="after")
    def _values_fit_the_kind(self) -> Self:
        for kind, values in (("aws", self.aws), ("openstack", self.openstack)):
            if (self.kind == kind) != (values is not None):
                raise ValueError(
                    f"site {self.name} is of kind {self.kind} and {'lacks' if values is None else 'has'} values under "
                    f"{kind}; {'add them' if values is None else f'remove them, or set kind: {kind}'}"
                )
        ignored = [key for key, given in (("stands_for", self.stands_for), ("workers", self.workers > 1)) if given]
        if ignored and self.kind != "local":
            raise ValueError(
                f"site {self.name} is of kind {self.kind} and has {', '.join(ignored)}, which are of local sites alone; "
                "remove them"
            )
        return self


class LinkSettings(Setting):
    """The link between two sites, each direction at `rate`."""

    between: tuple[SiteName, SiteName]
    rate: Bandwidth
    rtt_ms: RoundTripMs


class TrainingSettings(Setting):
    """What to train: a recipe, with dotted-key overrides such as `train.epochs: 3`."""

    recipe: str
    overrides: dict[str, JsonValue] = Field(default_factory=dict)


class LocalSettings(Setting):
    """Where sites of kind `local` live: a folder (relative to the project) and 400 loopback ports from `base_port`."""

    folder: Path
    base_port: BasePort


class RegistrySettings(Setting):
    """The model registry. `alias` names the version that is served."""

    alias: Name = "champion"


class Settings(Setting):
    """A whole stack."""

    sites: tuple[SiteSettings, ...] = Field(min_length=1)
    links: tuple[LinkSettings, ...] = ()
    training: TrainingSettings
    registry: RegistrySettings = RegistrySettings()
    local: LocalSettings | None = None
    cloud: CloudSettings | None = None

    @model_validator(mode="after")
    def _sites_and_links_fit(self) -> Self:
        names = [site.name for site in self.sites]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"site names {repeated} repeat; give each site a name of its own")
        pairs = [frozenset(link.between) for link in self.links]
        for link, pair in zip(self.links, pairs, strict=True):
            unknown = sorted(pair - set(names))
            if unknown or len(pair) != 2:
                raise ValueError(
                    f"link {' - '.join(link.between)} joins {unknown or 'a site to itself'}; name two of the sites {names}"
                )
            if pairs.count(pair) > 1:
                raise ValueError(f"link {' - '.join(link.between)} stands twice; keep one")
        missing = [f"{a} - {b}" for i, a in enumerate(names) for b in names[i + 1 :] if frozenset((a, b)) not in pairs]
        if missing:
            raise ValueError(f"sites without a link: {', '.join(missing)}; add them under {PROJECT}:links")
        if any(site.kind == "local" for site in self.sites) and self.local is None:
            raise ValueError(f"sites of kind local need {PROJECT}:local; add it with folder and base_port")
        if self.cloud is not None or any(site.kind != "local" for site in self.sites):
            kinds = sorted(site.kind for site in self.sites)
            if kinds != ["aws", "openstack"]:
                raise ValueError(
                    f"sites of kinds {kinds}; a cloud stack has one of kind aws and one of kind openstack, so add or remove"
                )
            if self.cloud is None:
                raise ValueError(f"sites of kinds {kinds} need {PROJECT}:cloud; add it with owner, budget and serving")
        return self

    @property
    def aws_site(self) -> tuple[SiteSettings, AwsSettings]:
        """The AWS site of a cloud stack. Raises `LookupError` for a local one."""
        for site in self.sites:
            if site.aws is not None:
                return site, site.aws
        raise LookupError("this stack has no site of kind aws")

    @property
    def openstack_site(self) -> tuple[SiteSettings, OpenStackSettings]:
        """The OpenStack site of a cloud stack. Raises `LookupError` for a local one."""
        for site in self.sites:
            if site.openstack is not None:
                return site, site.openstack
        raise LookupError("this stack has no site of kind openstack")

    @property
    def of_cloud(self) -> CloudSettings:
        """Values of a cloud stack. Raises `LookupError` for a local one."""
        if self.cloud is None:
            raise LookupError("this stack has no cloud")
        return self.cloud

    @classmethod
    def parse(cls, document: dict[str, Any], subject: str) -> Self:
        """Raises `UserError` naming each key that does not fit."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise UserError(advise(error, subject, cls)) from None

    @classmethod
    def from_engine(cls, values: dict[str, str], stack: str) -> Self:
        """Settings from what the Pulumi engine hands to the program: `isthmus:key` to text or JSON."""
        prefix = f"{PROJECT}:"
        document = {key.removeprefix(prefix): _json(text) for key, text in values.items() if key.startswith(prefix)}
        return cls.parse(document, f"stack {stack}")


def stack_config(path: Path) -> dict[str, Any]:
    """The `config:` mapping of a stack file. Raises `UserError` if there is no such stack or it is not YAML."""
    if not path.is_file():
        known = sorted(file.name.split(".")[1] for file in (ROOT / "stacks").glob("Pulumi.*.yaml"))
        raise UserError(f"stack file {path.name} is unknown; stacks: {', '.join(known)}")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not YAML: {' '.join(str(error).split())}; mend it there") from None
    if not isinstance(document, dict):
        raise UserError(f"{path.name} is {document!r:.40}, and must be a mapping; put its values under config:")
    config = document.get("config") or {}
    if not isinstance(config, dict):
        raise UserError(
            f"{path.name}: config is {config!r:.40}, and must be a mapping; write {PROJECT}:KEY: VALUE below it"
        )
    return config


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
