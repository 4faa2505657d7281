"""What a stand-in provider in Python is: answers to the engine's questions, in plain values."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from pulumi.runtime import rpc

from workloads.spec.errors import UserError

UNKNOWN: str = rpc.UNKNOWN
"""Stands for a value that a preview cannot know yet."""

Values = dict[str, Any]

LIMIT_S = 600
"""What one request may take where the program says nothing else."""


@dataclass(frozen=True)
class Ask:
    """What the engine asks about one resource. `old` and `new` are inputs; `state` holds what came out as well."""

    urn: str
    id: str = ""
    old: Values = field(default_factory=dict)
    new: Values = field(default_factory=dict)
    state: Values = field(default_factory=dict)
    preview: bool = False
    limit_s: float = LIMIT_S
    seed: str = ""  # hexadecimal digits for names that are drawn, the same again for the same plan
    ignored: tuple[str, ...] = ()  # property paths that the program leaves to another writer

    @property
    def token(self) -> str:
        return self.urn.split("::")[2].rpartition("$")[2]

    @property
    def name(self) -> str:
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True)
class Difference:
    """Inputs that differ, and those of them that a resource cannot change."""

    changed: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    delete_first: bool = False  # the replacement cannot be there beside what it replaces


class HalfMadeError(Exception):
    """A resource is there, but not as it was wanted: the engine has to know of it, or nobody would ever delete it."""

    def __init__(self, identity: str, state: Values, cause: Exception, inputs: Values | None = None) -> None:
        """`inputs` as they are found, from a provider that reads."""
        super().__init__(str(cause))
        self.identity, self.state, self.cause, self.inputs = identity, state, cause, inputs or {}


class Standin(ABC):
    """A provider. Raise `UserError` for what whoever wrote the program can mend."""

    package: str

    @abstractmethod
    def configure(self, values: Values) -> None:
        """Take the provider's own inputs; some may be unknown in a preview."""

    @abstractmethod
    def check(self, ask: Ask) -> tuple[Values, dict[str, str]]:
        """The inputs with what goes without saying, and reasons by property why they cannot be."""

    @abstractmethod
    def diff(self, ask: Ask) -> Difference: ...

    @abstractmethod
    def create(self, ask: Ask) -> tuple[str, Values]:
        """The resource's id and state. In a preview: no id, and what is known of the state. Raises `HalfMadeError`."""

    @abstractmethod
    def read(self, ask: Ask) -> tuple[Values, Values] | None:
        """State and inputs as they are found, `ask.old` being the inputs that are known; None: it is gone.

        Raises `HalfMadeError` with both where it is there but does not work.
        """

    @abstractmethod
    def update(self, ask: Ask) -> Values:
        """The new state; in a preview, what is known of it. Raises `HalfMadeError`."""

    @abstractmethod
    def delete(self, ask: Ask) -> None: ...

    @abstractmethod
    def invoke(self, function: str, arguments: Values) -> Values: ...

    def cancel(self) -> None:  # noqa: B027 - few wait for anything
        """Come back soon from whatever waits: who runs the engine has interrupted it."""

    def explain(self, error: Exception) -> str | None:
        """One line for an error of the interface that the stand-in calls; None: it is a mistake of the stand-in."""
        return str(error) if isinstance(error, UserError) else None


def has_unknown(value: Any) -> bool:
    """Whether a value holds an unknown at any depth, also inside a rendered text."""
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return isinstance(value, str) and UNKNOWN in value
