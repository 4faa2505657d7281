"""Shared vocabulary of the spec: the frozen base model, domain types and digests."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from workloads.spec.errors import UserError, explain

SiteName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Port = Annotated[int, Field(ge=1024, le=65535)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Frozen(BaseModel):
    """A value: immutable, and a field that is not in the schema is an error rather than a surprise later."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Parse a JSON file. Raises `UserError` if it is missing or does not fit."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; it is written by `pulumi up`") from None
        except ValidationError as error:
            raise UserError(explain(error, str(path))) from None

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(path.suffix + ".tmp")
        scratch.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        scratch.replace(path)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON form: equal values have equal digests on every machine."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class Endpoint(Frozen):
    """A TCP address."""

    host: str = "127.0.0.1"
    port: Port

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Credentials(Frozen):
    """Files of one mutual-TLS identity, PEM. The certificate's DNS name is the site's name."""

    ca: Path
    certificate: Path
    key: Path


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
