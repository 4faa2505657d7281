"""Whether a compression is already done. Imports nothing heavy: a second start of a finished one ends at once."""

from workloads.spec.artifact import MANIFEST, RESULT, ArtifactManifest, CompressResult
from workloads.spec.errors import UserError
from workloads.spec.launch import CompressLaunch

COMPRESSED = "model"  # folder of the artefact in the launch's output


def finished_result(launch: CompressLaunch, trained: ArtifactManifest) -> CompressResult | None:
    """The result of this very compression if its artefact is unharmed, so that nothing is left to do."""
    folder = launch.output / COMPRESSED
    try:
        result = CompressResult.load(launch.output / RESULT)
        manifest = ArtifactManifest.load(folder / MANIFEST)
        manifest.verify(folder)
    except UserError:
        return None
    is_same = (
        manifest.parents == (trained.digest(),)
        and manifest.recipe_digest == launch.recipe.digest()
        and result.manifest_digest == manifest.digest()
    )
    return result if is_same else None
