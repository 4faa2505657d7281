"""How a model travels: from a run to the stores of all sites, and from a site's own store to what serves it there."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat

from workloads.spec.base import Frozen, Name, Sha256, SiteName

DELIVERED = "delivered.json"  # beside a model that was fetched


class Store(Frozen):
    """A place for artefacts, as `fsspec` reaches it: `s3://BUCKET/PREFIX`, or a folder.

    Keys never stand here. `profile` is one of the AWS configuration (`AWS_CONFIG_FILE`), which says where the store is
    and, by itself or by the pod's identity, who may use it; None: whatever the environment leads to.
    """

    address: str
    profile: str | None = None


class Delivered(Frozen):
    """A pointer in a store: which model of a recipe an alias means, or which one a run has led to."""

    recipe: Name
    run_id: Name
    version: str  # in the registry
    manifest_digest: Sha256
    content: Sha256  # of all files, the signature among them; it names the folder


class CollectLaunch(Frozen):
    """`python -m workloads.delivery collect SPEC`: what the run has left in the sites' shared store, in `folder`.

    With `poll_s` it waits until the run is finished, and while the store cannot be reached.
    """

    store: Store
    run_id: Name
    folder: Path
    poll_s: PositiveFloat | None = None


class PublishLaunch(Frozen):
    """`python -m workloads.delivery publish SPEC`: `model` in every store, signed; then `alias` means it."""

    model: Path  # an artefact with its manifest
    registered: Path  # `result.json` of its registration
    run_id: Name
    signing_key: Path
    alias: Name
    stores: Annotated[dict[SiteName, Store], Field(min_length=1)]


class FetchLaunch(Frozen):
    """`python -m workloads.delivery fetch SPEC`: the model that `alias` means, verified, in `folder / "model"`.

    It comes from the first of `stores` that has one: a platform that took over from a lost one has a store of its own,
    and the replica of the other's. Any one of `public_keys` may have signed it.

    With `run_id` it waits until that run has led to a model, whatever the alias means by then: what serves an earlier
    one goes on meanwhile, and an alias that was set back to an earlier model is obeyed.
    """

    stores: Annotated[tuple[Store, ...], Field(min_length=1)]
    recipe: Name
    alias: Name
    run_id: Name | None = None
    public_keys: Annotated[tuple[Path, ...], Field(min_length=1)]
    folder: Path
    poll_s: PositiveFloat = 15.0


class BackupLaunch(Frozen):
    """`python -m workloads.delivery keep SPEC`: `file` as `name` in the first of `stores`, over what was there before.

    `… recall SPEC` gets it from the first of them that has it, and does nothing where none has.
    """

    stores: Annotated[tuple[Store, ...], Field(min_length=1)]
    name: str
    file: Path
