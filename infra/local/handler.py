"""The contract between the provider and one kind of resource."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError

from infra.local.values import has_unknown
from workloads.spec.base import Frozen
from workloads.spec.errors import UserError, explain

InputsT = TypeVar("InputsT", bound=Frozen)

State = dict[str, Any]
"""What Pulumi keeps of a resource: its inputs and, beside them, what came out."""


@dataclass(frozen=True)
class Context:
    """What a handler may use while it works on one resource."""

    urn: str
    say: Callable[[str], None]  # a line of progress in Pulumi's display
    note: Callable[[str], None]  # a line that stays in the log of the update


@dataclass(frozen=True)
class Difference:
    """Fields that differ between what stands and what is wanted."""

    changed: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()


class Handler(ABC, Generic[InputsT]):
    """One kind of resource. Handlers hold no state of their own: what they know is in the inputs, the state and on disk."""

    pulumi_type: ClassVar[str]  # isthmus:MODULE:Name
    inputs: type[InputsT]
    replace_on: ClassVar[frozenset[str]] = frozenset()  # a change of these makes the resource anew
    quiet_on: ClassVar[frozenset[str]] = frozenset()  # a change of these alone is no reason to act
    delete_first: ClassVar[bool] = True  # a replacement would collide with what it replaces
    secret: ClassVar[frozenset[str]] = frozenset()  # inputs and outputs that Pulumi encrypts

    def parse(self, values: State) -> InputsT:
        """Typed inputs from a state or from inputs. Raises `UserError`."""
        known = {key: values[key] for key in self.inputs.model_fields if key in values}
        try:
            return self.inputs.model_validate(known)
        except ValidationError as error:
            subject = self.pulumi_type.rpartition(":")[2]
            if self.secret & self.inputs.model_fields.keys():  # a fault would be shown with the value that it met
                told = "; ".join(f"{key or 'inputs'}: {why}" for key, why in self.faults(known))
                raise UserError(f"{subject}: {told}") from None
            raise UserError(explain(error, subject)) from None

    def faults(self, values: State) -> list[tuple[str, str]]:
        """`(property, reason)` of inputs that cannot be right. Unknown values are looked at when they are known."""
        unknown = {key for key, value in values.items() if has_unknown(value)}
        found = [(key, "is no input of this resource") for key in values if key not in self.inputs.model_fields]
        try:
            self.inputs.model_validate({k: v for k, v in values.items() if k not in unknown})
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                key = str(fault["loc"][0]) if fault["loc"] else ""
                if key not in unknown and fault["type"] != "extra_forbidden":
                    found.append((key, fault["msg"]))
        return found

    def difference(self, state: State, wanted: State) -> Difference:
        """Pure comparison. A stopped or damaged resource differs in its `status`."""
        changed = [
            key
            for key in self.inputs.model_fields
            if key not in self.quiet_on
            and key in wanted
            and not has_unknown(wanted[key])
            and not _same(state.get(key), wanted[key])
        ]
        unknown = [key for key in wanted if key not in self.quiet_on and has_unknown(wanted[key])]
        if state.get("status", "ok") != "ok":
            changed.append("status")
        return Difference((*changed, *unknown), tuple(key for key in (*changed, *unknown) if key in self.replace_on))

    @abstractmethod
    async def create(self, inputs: InputsT, context: Context) -> State:
        """Make it and give its outputs. Called again after a kill in the middle, it must carry on and not collide."""

    @abstractmethod
    async def read(self, inputs: InputsT, state: State) -> State | None:
        """Outputs as they are now: `status` is `ok` or what is wrong; None if it is gone and must be made again."""

    @abstractmethod
    async def update(self, inputs: InputsT, state: State, context: Context) -> State:
        """Make what stands fit `inputs` and give its outputs."""

    @abstractmethod
    async def delete(self, inputs: InputsT, state: State) -> None:
        """Leave nothing of it. What is already gone is no error."""


def _same(old: Any, new: Any) -> bool:
    """Equality of JSON values; Pulumi drops keys that are null, so an absent key equals null."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(_same(old.get(key), new.get(key)) for key in old.keys() | new.keys())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(_same(a, b) for a, b in zip(old, new, strict=True))
    return bool(old == new)
