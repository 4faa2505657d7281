"""`isthmus:keys:DrawnSecret` and `isthmus:keys:SigningKey`: drawn once, kept in Pulumi's encrypted state, nowhere else."""

import math
import secrets
import string
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import Field, PositiveInt, model_validator

from infra.local import certificates
from infra.local.handler import Context, Handler, State
from workloads.spec.base import Frozen

_ALPHANUMERIC = string.ascii_letters + string.digits
_MINIMUM_BITS = 96  # beyond guessing, even by whoever has the digest

DrawnT = TypeVar("DrawnT", bound=Frozen)


class Drawn(Handler[DrawnT]):
    """What exists in the state alone: nothing can be changed or lost outside, and another input draws it anew."""

    delete_first = False  # whoever uses it is given the new one before the old is forgotten
    drawn: ClassVar[tuple[str, ...]]  # outputs

    async def read(self, inputs: DrawnT, state: State) -> State | None:
        del inputs
        return {"status": "ok"} if all(state.get(name) for name in self.drawn) else None

    async def update(self, inputs: DrawnT, state: State, context: Context) -> State:
        del inputs, context
        return {**{name: state[name] for name in self.drawn}, "status": "ok"}

    async def delete(self, inputs: DrawnT, state: State) -> None:
        """The state was all there was of it."""


class SecretInputs(Frozen):
    """`length` characters, each drawn evenly from `alphabet`. Another `generation` draws anew."""

    length: Annotated[int, Field(ge=8, le=512)] = 32
    alphabet: Annotated[str, Field(min_length=2)] = _ALPHANUMERIC
    generation: PositiveInt = 1

    @model_validator(mode="after")
    def _cannot_be_guessed(self) -> Self:
        if len(set(self.alphabet)) != len(self.alphabet):
            raise ValueError("characters of the alphabet repeat; give each once")
        bits = self.length * math.log2(len(self.alphabet))
        if bits < _MINIMUM_BITS:
            needed = math.ceil(_MINIMUM_BITS / math.log2(len(self.alphabet)))
            raise ValueError(f"{bits:.0f} bits can be guessed, {_MINIMUM_BITS} cannot; set length to {needed} or more")
        return self


class DrawnSecretHandler(Drawn[SecretInputs]):
    """A password or a pre-shared key."""

    pulumi_type = "isthmus:keys:DrawnSecret"
    inputs = SecretInputs
    replace_on = frozenset({"length", "alphabet", "generation"})
    secret = frozenset({"value"})
    drawn = ("value",)

    async def create(self, inputs: SecretInputs, context: Context) -> State:
        del context
        return {"value": "".join(secrets.choice(inputs.alphabet) for _ in range(inputs.length)), "status": "ok"}


class SigningKeyInputs(Frozen):
    """Another `generation` draws anew; what the key before signed is not trusted any more."""

    generation: PositiveInt = 1


class SigningKeyHandler(Drawn[SigningKeyInputs]):
    """A pair of keys on P-256, PEM, as `workloads.registry.signing` reads them."""

    pulumi_type = "isthmus:keys:SigningKey"
    inputs = SigningKeyInputs
    replace_on = frozenset({"generation"})
    secret = frozenset({"private_pem"})
    drawn = ("private_pem", "public_pem")

    async def create(self, inputs: SigningKeyInputs, context: Context) -> State:
        del inputs, context
        key = certificates.draw_key()
        outputs: dict[str, Any] = {
            "private_pem": certificates.private_pem(key),
            "public_pem": certificates.public_pem(key),
        }
        return {**outputs, "status": "ok"}
