"""The words in which a type is described: operations with their arguments, and what is read from their answers."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jmespath

from tests.lab.providers.aws.cloud import Cloud
from tests.lab.providers.aws.shapes import Names, to_api
from tests.lab.providers.contract import Values

_WORD = re.compile(r"\$\{?(\w+)\}?")


@dataclass
class Work:
    """One resource while something is done about it. `new` is what is wanted, `old` what it was: both are inputs."""

    type: "Type"
    cloud: Cloud
    new: Values
    old: Values = field(default_factory=dict)
    id: str = ""
    found: Values = field(default_factory=dict)  # what the interface last told of it

    @property
    def region(self) -> str:
        return str(self.new.get("region") or self.cloud.region)

    def call(self, operation: str, /, *, service: str = "", **arguments: Any) -> Values:
        return self.cloud.call(service or self.type.service, operation, self.region, **arguments)

    def api(self, operation: str, given: Values, names: Names | None = None) -> Values:
        """Inputs as an operation takes them. Raises `UserError` for one that it has no place for."""
        shape = self.cloud.shape(self.type.service, operation)
        wanted: Values = to_api(shape, given, {**self.type.names, **(names or {})})
        return wanted

    def fill(self, template: Any) -> Any:
        """`$word` in a template becomes the id or an input, whole if it stands alone; None where there is no such."""
        if isinstance(template, Mapping):
            filled = {key: self.fill(item) for key, item in template.items()}
            return {key: item for key, item in filled.items() if item is not None}
        if isinstance(template, list):
            return [self.fill(item) for item in template]
        if not isinstance(template, str):
            return template
        if whole := _WORD.fullmatch(template):
            return self._word(whole[1])
        return _WORD.sub(lambda word: str(self._word(word[1])), template)

    def _word(self, word: str) -> Any:
        match word:
            case "id":
                return self.id
            case "region":
                return self.region
            case "partition" | "account":  # asked of the cloud, which a store elsewhere than on AWS is not
                return getattr(self.cloud, word)
        return self.new.get(word)


Step = Callable[[Work], Any]
"""Something that is done about a resource."""


@dataclass(frozen=True)
class Op:
    """One operation: its arguments as a template, and where in its answer the result is (JMESPath; empty: all)."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: str = ""

    def __call__(self, work: Work) -> Any:
        return search(self.result, work.call(self.name, **work.fill(self.arguments)))


@dataclass(frozen=True)
class Make(Op):
    """An operation that takes the inputs under their own names, but for those that are set in other ways."""

    def __call__(self, work: Work) -> Any:
        kind = work.type
        aside = {*kind.later, *kind.local, *kind.elsewhere, "region", "tags", "tagsAll"}
        given = {key: value for key, value in work.new.items() if key not in aside}
        arguments = work.api(self.name, given) | work.fill(self.arguments)
        if kind.tagging is not None and work.new.get("tagsAll"):
            arguments |= kind.tagging.at_birth(work, self.name)
        return search(self.result, work.call(self.name, **arguments))


@dataclass(frozen=True)
class Together:
    """An operation that sets several inputs at once, under their own names, beside what names the resource."""

    name: str
    arguments: Mapping[str, Any]
    inputs: tuple[str, ...]
    names: Names = field(default_factory=dict)

    def __call__(self, work: Work) -> Any:
        given = {key: work.new[key] for key in self.inputs if key in work.new}
        return work.call(self.name, **work.api(self.name, given, self.names), **work.fill(self.arguments))


@dataclass(frozen=True)
class Tagging:
    """How a service tags what is there.

    `of` gives the argument `who`, as a template or by a step; `read` is what lists tags where no other read tells them.
    """

    put: str
    drop: str
    who: str
    of: Any = "$id"
    tags: str = "Tags"
    keys: str = "TagKeys"
    read: str | None = None
    kind: str | None = None  # of EC2: what it calls the type in tags

    def at_birth(self, work: Work, operation: str) -> Values:
        """Arguments of the operation that makes the resource; none where it takes no tags."""
        members = work.cloud.shape(work.type.service, operation).members
        wanted = work.new["tagsAll"]
        if self.kind is not None and "TagSpecifications" in members:
            pairs = [{"Key": key, "Value": value} for key, value in sorted(wanted.items())]
            return {"TagSpecifications": [{"ResourceType": self.kind, "Tags": pairs}]}
        return work.api(operation, {"tags": wanted}) if {"Tags", "tags"} & members.keys() else {}

    def change(self, work: Work, there: Mapping[str, str]) -> None:
        """From the tags that are there to those that are wanted."""
        wanted, who = work.new.get("tagsAll") or {}, self._who(work)
        if gone := sorted(there.keys() - wanted.keys()):
            # EC2 takes tags where others take keys
            keys = [{"Key": key} for key in gone] if self.keys == self.tags else gone
            work.call(self.drop, **who, **{self.keys: keys})
        if fresh := {key: value for key, value in wanted.items() if there.get(key) != value}:
            work.call(self.put, **who, **work.api(self.put, {self.tags: fresh}))

    def there(self, work: Work) -> Any:
        """Tags as the interface tells them."""
        found = work.call(self.read, **self._who(work)) if self.read else work.found
        return next((found[name] for name in ("Tags", "tags") if name in found), None)

    def _who(self, work: Work) -> Values:
        return {self.who: self.of(work) if callable(self.of) else work.fill(self.of)}


@dataclass(frozen=True)
class Type:
    """A resource type. An input that stands nowhere here replaces the resource when it changes."""

    token: str
    service: str
    create: Step  # gives the id
    read: Step  # gives what the interface tells of it, or None
    delete: Step
    names: Names = field(default_factory=dict)
    later: Mapping[str, Step] = field(default_factory=dict)  # set after the creation, and when they change
    changes: Mapping[str, Step] = field(default_factory=dict)  # given at the creation, set when they change
    local: frozenset[str] = frozenset()  # inputs that steer the provider and go nowhere
    elsewhere: frozenset[str] = frozenset()  # inputs that `create` puts into its arguments by itself
    defaults: Mapping[str, Any] = field(default_factory=dict)
    tagging: Tagging | None = None
    outputs: Mapping[str, str | Step] = field(default_factory=dict)  # by JMESPath in what was read, or computed
    tells: Mapping[str, str | Step] = field(default_factory=dict)  # inputs that a read tells under other names
    unread: frozenset[str] = frozenset()  # inputs that no read tells as they were given
    fresh: frozenset[str] = frozenset()  # outputs that an update changes
    within: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what comes out inside an input
    drawn: str | None = None  # an input that gets a drawn name where the program gives none
    unique: tuple[str, ...] = ()  # inputs that no two resources can share
    ready: tuple[str, frozenset[str]] | None = None  # where its state is told, and which let a program go on
    gone: frozenset[str] = frozenset()  # states of what is told of but no longer there
    regional: bool = True
    stays: bool = False  # after its deletion something of it is there still, as with AWS


def search(path: str, answer: Any) -> Any:
    return jmespath.search(path, answer) if path else answer


def arn(service: str, rest: str, *, region: bool = True) -> Step:
    """An ARN that no answer tells; `rest` is a template."""
    where = "$region:$account" if region else ":$account"
    return lambda work: work.fill(f"arn:$partition:{service}:{where}:{rest}")


def each(step: Step, inputs: Iterable[str]) -> dict[str, Step]:
    """The same step for several inputs: it is taken once, whichever of them changed."""
    return dict.fromkeys(inputs, step)
