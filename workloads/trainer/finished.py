"""Whether a run is already done. Imports nothing heavy: a second start of a finished run ends at once."""

from workloads.spec.artifact import MANIFEST, RESULT, ArtifactManifest, RunResult
from workloads.spec.errors import UserError
from workloads.spec.launch import LaunchSpec
from workloads.spec.recipe import Recipe

TRAINED = "trained"  # folder of the artefact in the run's output
RECIPE = "recipe.json"  # in that folder


def finished_result(launch: LaunchSpec) -> RunResult | None:
    """The result of this very run if it is complete and its artefact is unharmed, so that nothing is left to do."""
    trained = launch.output / TRAINED
    try:
        result = RunResult.load(launch.output / RESULT)
        manifest = ArtifactManifest.load(trained / MANIFEST)
        manifest.verify(trained)
        made_by = Recipe.load(trained / RECIPE)
    except UserError:
        return None
    is_same = (
        result.run_id == launch.run_id
        and training_facts(made_by) == training_facts(launch.recipe)
        and manifest.data_digests == {site.name: site.data_digest for site in launch.sites}
        and result.manifest_digest == manifest.digest()
    )
    return result if is_same else None


def training_facts(recipe: Recipe) -> str:
    """The part of a recipe that training depends on: how the model is compressed and served does not change it."""
    return "\n".join(part.model_dump_json() for part in (recipe.model, recipe.data, recipe.train))
