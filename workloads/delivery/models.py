"""Models in the stores of the sites.

`models/RECIPE/CONTENT/…` is a model with its signature, named by the digest of all its files and never written twice;
`models/RECIPE/runs/RUN.json` says which one a run has led to, `models/RECIPE/ALIAS.json` which one is served. Pointers
move after every store has the content, so whatever interrupts a delivery, each of them leads to a whole model.
"""

import time
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

from workloads.delivery.depot import SECONDS_BETWEEN_LINES, Depot, Listing, Say
from workloads.registry.signing import sign, verify_signature
from workloads.spec.artifact import MANIFEST, SIGNATURE, ArtifactManifest, RegisterResult
from workloads.spec.delivery import DELIVERED, Delivered, FetchLaunch, PublishLaunch, Store
from workloads.spec.errors import UserError

MODEL = "model"  # folder that a model is fetched to


def publish(launch: PublishLaunch, say: Say) -> Delivered:
    """Sign the model, put it into every store, and point the alias at it.

    A model that the run was delivered with before keeps the signature that it has there, and so its name.

    Raises:
        UserError: the model was changed, the key cannot be read, or a store cannot be reached; the alias means then in
            each store what it meant before, or this model.
    """
    manifest = _verified(launch.model)
    depots = {site: Depot(store) for site, store in launch.stores.items()}
    _take_signature_back(launch, manifest, depots.values())
    sign(launch.model, launch.signing_key)
    delivered = Delivered(
        recipe=manifest.recipe,
        run_id=launch.run_id,
        version=RegisterResult.load(launch.registered).version,
        manifest_digest=manifest.digest(),
        content=Listing.of(launch.model).digest(),
    )
    for site, depot in depots.items():
        depot.deliver(launch.model, _content(delivered))
        say(f"{site}: {delivered.recipe} {delivered.content[:12]} is in the store")
    for depot in depots.values():
        depot.save(delivered, _of_alias(delivered.recipe, launch.alias))
        # last: whoever waits for the run finds what the alias means by then
        depot.save(delivered, _of_run(delivered.recipe, delivered.run_id))
    say(f"{delivered.recipe}@{launch.alias} is version {delivered.version} at {', '.join(depots)}")
    return delivered


def fetch(launch: FetchLaunch, say: Say, wait: Callable[[float], None] = time.sleep) -> Delivered:
    """The model that the alias means, in `launch.folder / "model"`, what was delivered beside it.

    Waits while there is none yet, and while the store cannot be reached: a replica is of no use without its model.

    Raises:
        UserError: the model is not the one that was signed, or is of another recipe.
    """
    silent_s = SECONDS_BETWEEN_LINES
    while True:
        reasons = []
        for store in launch.stores:
            found = _found(launch, store)
            if isinstance(found, Delivered):
                found.save(launch.folder / DELIVERED)
                say(f"{found.recipe} version {found.version} ({found.content[:12]}) is here, from {store.address}")
                return found
            reasons.append(found)
        if silent_s >= SECONDS_BETWEEN_LINES:
            say(f"waiting: {'; '.join(reasons)}")
            silent_s = 0.0
        wait(launch.poll_s)
        silent_s += launch.poll_s


def _take_signature_back(launch: PublishLaunch, manifest: ArtifactManifest, depots: Iterable[Depot]) -> None:
    """Lay the signature of an earlier delivery of the same model beside it, where there is one; signing keeps it if valid.

    ECDSA signs anew each time: without this a delivery that is only repeated would be another model to whoever serves it.
    """
    # what moved before an attempt was interrupted is the alias alone
    pointers = (_of_run(manifest.recipe, launch.run_id), _of_alias(manifest.recipe, launch.alias))
    for depot, pointer in product(depots, pointers):
        known = depot.load(Delivered, pointer)
        if known is None or known.manifest_digest != manifest.digest():
            continue
        if (signature := depot.read(f"{_content(known)}/{SIGNATURE}")) is not None:
            (launch.model / SIGNATURE).write_bytes(signature)
            return


def _found(launch: FetchLaunch, store: Store) -> Delivered | str:
    """What was fetched from a store, or why nothing was."""
    try:
        depot = Depot(store)
        delivered = _meant(launch, depot)
    except UserError as error:
        return str(error)
    if delivered is None:
        return f"{store.address} has no model of {launch.run_id or launch.recipe} yet"
    if not _fetched(launch, store, depot, delivered):
        return f"{store.address} has not all of {delivered.recipe} version {delivered.version} yet"
    return delivered


def _meant(launch: FetchLaunch, depot: Depot) -> Delivered | None:
    if launch.run_id is not None and depot.load(Delivered, _of_run(launch.recipe, launch.run_id)) is None:
        return None
    return depot.load(Delivered, _of_alias(launch.recipe, launch.alias))


def _fetched(launch: FetchLaunch, store: Store, depot: Depot, delivered: Delivered) -> bool:
    """Whether the content is whole in the store: where one store is copied from another it may come after its pointer."""

    def check(folder: Path) -> None:
        if Listing.of(folder).digest() != delivered.content:
            raise UserError(
                f"{store.address}: {_content(delivered)} holds something else than its name says; publish the "
                "model again"
            )
        verify_signature(folder, *launch.public_keys)
        manifest = _verified(folder)
        if (manifest.recipe, manifest.digest()) != (launch.recipe, delivered.manifest_digest):
            raise UserError(
                f"{store.address}: {launch.recipe}@{launch.alias} leads to a model of {manifest.recipe!r} with "
                f"manifest {manifest.digest()[:12]}, not {delivered.manifest_digest[:12]}; publish the model again"
            )

    return depot.collect(_content(delivered), launch.folder / MODEL, check)


def _verified(folder: Path) -> ArtifactManifest:
    manifest = ArtifactManifest.load(folder / MANIFEST)
    manifest.verify(folder)
    return manifest


def _content(delivered: Delivered) -> str:
    return f"models/{delivered.recipe}/{delivered.content}"


def _of_run(recipe: str, run_id: str) -> str:
    return f"models/{recipe}/runs/{run_id}.json"


def _of_alias(recipe: str, alias: str) -> str:
    return f"models/{recipe}/{alias}.json"
