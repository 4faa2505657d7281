"""Whether a run is already done. Imports nothing heavy: a second start of a finished run ends at once."""

import hashlib
import json

from workloads.spec.artifact import MANIFEST, RESULT, ArtifactManifest, RunResult
from workloads.spec.delivery import Store
from workloads.spec.errors import UserError
from workloads.spec.launch import LaunchSpec
from workloads.spec.recipe import Recipe

Found = tuple[RunResult, ArtifactManifest, Recipe]

TRAINED = "trained"  # folder of the artefact in the run's output
RECIPE = "recipe.json"  # in that folder


def finished_result(launch: LaunchSpec) -> RunResult | None:
    """The result of this very run if it is complete and its artefact is unharmed, so that nothing is left to do.

    Raises:
        UserError: the store that the sites share cannot be reached.
    """
    found = _found_here(launch) if launch.shared is None else _found_shared(launch, launch.shared)
    if found is None:
        return None
    result, manifest, made_by = found
    is_same = (
        result.run_id == launch.run_id
        and training_facts(made_by) == training_facts(launch.recipe)
        and manifest.data_digests.keys() <= {site.name for site in launch.sites}
        and all(site.data_digest in {None, manifest.data_digests.get(site.name)} for site in launch.sites)
        and result.manifest_digest == manifest.digest()
    )
    return result if is_same else None


def _found_here(launch: LaunchSpec) -> Found | None:
    trained = launch.output / TRAINED
    try:
        result = RunResult.load(launch.output / RESULT)
        manifest = ArtifactManifest.load(trained / MANIFEST)
        manifest.verify(trained)
        return result, manifest, Recipe.load(trained / RECIPE)
    except UserError:
        return None


def _found_shared(launch: LaunchSpec, store: Store) -> Found | None:
    from workloads.delivery.runs import SharedRun  # noqa: PLC0415 - sites of one machine share no store

    run = SharedRun(store, launch.run_id)
    result, manifest = run.load(RunResult, RESULT), run.load(ArtifactManifest, f"{TRAINED}/{MANIFEST}")
    made_by = run.load(Recipe, f"{TRAINED}/{RECIPE}")
    if result is None or manifest is None or made_by is None:
        return None
    return result, manifest, made_by


def training_facts(recipe: Recipe) -> str:
    """The part of a recipe that the course of training depends on.

    How the model is compressed and served does not change it, nor how a site's workers share the work, how often its
    state is kept, and what is done about a site that is lost.
    """
    train = recipe.train.model_dump_json(
        exclude={
            "layout": True,
            "membership": True,
            "checkpoint": True,
            "inner": {"micro_batch", "activation_checkpointing"},
        }
    )
    return f"{recipe.model.model_dump_json()}\n{recipe.data.model_dump_json()}\n{train}"


def model_digest(recipe: Recipe) -> str:
    """SHA-256 of what says which model a recipe trains."""
    return hashlib.sha256(recipe.model.model_dump_json().encode()).hexdigest()


def course_digest(launch: LaunchSpec, site: str = "") -> str:
    """SHA-256 of all that the sites of a run must agree on, or of that and which `site` it is: recipe, plan, data.

    Layouts are not in it: a site may be started again with another one.
    """
    plan = launch.plan
    facts = [
        site,
        training_facts(launch.recipe),
        [part.model_dump() for part in plan.rounds],
        [plan.overlap_steps, plan.bits, plan.fragments, plan.precision],
        [[site.name, site.data_digest, plan.sites[site.name].batch] for site in launch.sites],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
