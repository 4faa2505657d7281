"""What the engine asks, answered from descriptions of types."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from tests.lab.providers.aws.cloud import BUSY, GONE, Cloud, code, explain
from tests.lab.providers.aws.functions import FUNCTIONS
from tests.lab.providers.aws.shapes import agrees, camel, tag_map
from tests.lab.providers.aws.spec import Type, Work, search
from tests.lab.providers.aws.types import TYPES
from tests.lab.providers.contract import UNKNOWN, Ask, Difference, HalfMadeError, Standin, Values, has_unknown
from workloads.spec.errors import UserError

_DRAWN_DIGITS = 7
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class AwsStandin(Standin):
    """Pulumi's AWS provider, as far as the program needs one."""

    package = "aws"

    def __init__(self) -> None:
        self._cloud: Cloud | None = None

    def configure(self, values: Values) -> None:
        self._cloud = None if has_unknown(values) else Cloud.of(values)

    def explain(self, error: Exception) -> str | None:
        return super().explain(error) or explain(error)

    def check(self, ask: Ask) -> tuple[Values, dict[str, str]]:
        kind = _type(ask.token)
        inputs = {**kind.defaults, **{key: value for key, value in ask.new.items() if value is not None}}
        if kind.drawn is not None and kind.drawn not in inputs:
            inputs[kind.drawn] = ask.old.get(kind.drawn) or f"{ask.name}-{ask.seed[:_DRAWN_DIGITS]}"
        if kind.tagging is not None:
            tags, usual = inputs.get("tags") or {}, self._cloud.default_tags if self._cloud else {}
            # a map with an unknown in it is one that is not known yet
            inputs["tagsAll"] = tags if isinstance(tags, str) else {**usual, **tags}
        return inputs, {}

    def diff(self, ask: Ask) -> Difference:
        kind = _type(ask.token)
        changed = tuple(key for key in sorted({*ask.old, *ask.new}) if ask.old.get(key) != ask.new.get(key))
        replace = tuple(key for key in changed if key not in _in_place(kind))
        same = bool(kind.unique) and all(ask.old.get(key) == ask.new.get(key) for key in kind.unique)
        return Difference(changed, replace, delete_first=bool(replace) and same)

    def create(self, ask: Ask) -> tuple[str, Values]:
        kind = _type(ask.token)
        if ask.preview:
            return "", _with_unknown(kind, ask.new)
        work = Work(kind, self.cloud, ask.new)
        work.id = str(kind.create(work))
        try:
            _take(kind.later, [key for key in kind.later if key in ask.new], work)
            self._settle(work, ask.limit_s)
            if kind.tagging is not None and (there := _tags(work)) != ask.new.get("tagsAll"):
                kind.tagging.change(work, there or {})  # the operation that made it takes none, or dropped them
        except Exception as error:
            raise HalfMadeError(work.id, ask.new, error) from error
        return work.id, self._state(work)

    def read(self, ask: Ask) -> tuple[Values, Values] | None:
        inputs = ask.old
        work = Work(_type(ask.token), self.cloud, inputs, inputs, ask.id)
        if not self._look(work):
            return None
        seen = {**inputs, **_told(work)}
        if work.type.tagging is not None and (tags := _tags(work)) is not None and tags != inputs.get("tagsAll"):
            usual, own = self.cloud.default_tags, inputs.get("tags") or {}
            seen["tagsAll"] = tags
            seen["tags"] = {key: value for key, value in tags.items() if key in own or usual.get(key) != value}
        work.new = seen
        return self._state(work), seen

    def update(self, ask: Ask) -> Values:
        kind = _type(ask.token)
        changed = self.diff(ask).changed
        if ask.preview:
            fresh = dict.fromkeys(kind.fresh, UNKNOWN) if kind.changes.keys() & {*changed} else {}
            inside = {name: {**ask.state.get(name, {}), **ask.new.get(name, {})} for name in kind.within}
            return {**ask.state, **ask.new, **inside, **fresh}
        work = Work(kind, self.cloud, ask.new, ask.old, ask.id)
        try:
            _take({**kind.changes, **kind.later}, changed, work)
            self._settle(work, ask.limit_s)
            if kind.tagging is not None and "tagsAll" in changed:
                kind.tagging.change(work, _tags(work) or ask.old.get("tagsAll") or {})
                self._settle(work, ask.limit_s)
        except Exception as error:
            raise HalfMadeError(ask.id, ask.state, error) from error
        return self._state(work)

    def delete(self, ask: Ask) -> None:
        inputs = {key: value for key, value in ask.state.items() if value is not None}
        work = Work(_type(ask.token), self.cloud, inputs, inputs, ask.id)

        def gone() -> bool:
            return not self._look(work)

        if not gone():
            _until(lambda: _deleted(work), ask.limit_s, f"{ask.token} {ask.id} is still in use")
            if not work.type.stays:
                _until(gone, ask.limit_s, f"{ask.token} {ask.id} is still there")

    def invoke(self, function: str, arguments: Values) -> Values:
        if function not in FUNCTIONS:
            raise UserError(f"function {function} is unknown to the stand-in; it has {', '.join(sorted(FUNCTIONS))}")
        return FUNCTIONS[function](self.cloud, arguments)

    @property
    def cloud(self) -> Cloud:
        if self._cloud is None:
            raise UserError("the AWS provider's own inputs are not known yet; apply what they come from first")
        return self._cloud

    def _look(self, work: Work) -> bool:
        """Whether it is there; `work.found` then is what the interface tells."""
        kind = work.type
        try:
            found = kind.read(work)
        except ClientError as error:
            if GONE.search(code(error)):
                return False
            raise
        if found is None or (kind.ready and search(kind.ready[0], found) in kind.gone):
            return False
        work.found = found
        return True

    def _settle(self, work: Work, limit_s: float) -> None:
        """Wait until what was made or changed is there, in a state that lets a program go on."""
        kind = work.type

        def settled() -> bool:
            return self._look(work) and (kind.ready is None or search(kind.ready[0], work.found) in kind.ready[1])

        _until(settled, limit_s, f"{kind.token} {work.id} is not ready")

    def _state(self, work: Work) -> Values:
        kind = work.type
        found = {name: _value(how, work) for name, how in kind.outputs.items()}
        if kind.regional:
            found["region"] = work.region
        state = {**{key: value for key, value in found.items() if value is not None}, **work.new}
        for name, inner in kind.within.items():
            state[name] = {**(found.get(name) or {}), **work.new.get(name, {})}
            state[name] |= {key: found[name][key] for key in inner if found.get(name, {}).get(key) is not None}
        return state


def _type(token: str) -> Type:
    if token not in TYPES:
        raise UserError(
            f"resource type {token} is unknown to the stand-in; describe it below tests/lab/providers/aws/types"
        )
    return TYPES[token]


def _in_place(kind: Type) -> set[str]:
    own = {*kind.later, *kind.changes, *kind.local}
    return own | {"tags", "tagsAll"} if kind.tagging is not None else own


def _take(steps: Mapping[str, Callable[[Work], Any]], inputs: Any, work: Work) -> None:
    """The steps of inputs, each once and in the order of their description."""
    taken: list[Any] = []
    for key, step in steps.items():
        if key in inputs and step not in taken:
            taken.append(step)
            step(work)


def _deleted(work: Work) -> bool:
    try:
        work.type.delete(work)
    except ClientError as error:
        if BUSY.search(code(error)):
            return False
        if not GONE.search(code(error)):
            raise
    return True


def _value(how: Any, work: Work) -> Any:
    return search(how, work.found) if isinstance(how, str) else how(work)


def _tags(work: Work) -> dict[str, str] | None:
    tagging = work.type.tagging
    there = tagging.there(work) if tagging is not None else None
    return None if there is None else tag_map(there)


def _told(work: Work) -> Values:
    """Inputs that the interface tells otherwise than they were given."""
    kind, given = work.type, work.new
    flat = {key.lower(): value for key, value in work.found.items()}
    drift = {}
    for key in given.keys() - kind.local - kind.unread - {"tags", "tagsAll", "region"}:
        named = camel(flat.get(kind.names.get(key, key).lower()))
        told = _value(kind.tells[key], work) if key in kind.tells else named
        if not agrees(given[key], told):
            as_text = isinstance(given[key], str) and not isinstance(told, str)
            drift[key] = json.dumps(told) if as_text else told
    return drift


def _with_unknown(kind: Type, inputs: Values) -> Values:
    """What a preview knows of a resource to be: what comes out inside an input has to be said to be unknown."""
    inside = {name: {**inputs.get(name, {}), **dict.fromkeys(inner, UNKNOWN)} for name, inner in kind.within.items()}
    return {**inputs, **inside}


def _until(done: Callable[[], bool], limit_s: float, what: str) -> None:
    """Raises `UserError` after the limit."""
    deadline, pause_s = time.monotonic() + limit_s, _PAUSE_S
    while not done():
        if time.monotonic() > deadline:
            raise UserError(f"{what} after {limit_s:.0f} s; look at the emulators' logs")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
