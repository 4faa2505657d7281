"""Where a model comes from, checked on disk and told as tags. Imports nothing heavy: a refusal comes at once."""

from dataclasses import dataclass

from workloads.spec.artifact import MANIFEST, ArtifactManifest
from workloads.spec.errors import UserError
from workloads.spec.launch import RegisterLaunch

MODEL_DIGEST_TAG = "isthmus.model_digest"


@dataclass(frozen=True)
class Lineage:
    """A compressed model and the trained or fused one that it was made from; the files of both agree with these manifests."""

    trained: ArtifactManifest
    compressed: ArtifactManifest

    def tags(self) -> dict[str, str]:
        """Recipe, code, data of each site, training run and parents of the compressed model, and of a fused one's parents."""
        model = self.compressed
        fused_from = {"isthmus.fused_from": ",".join(self.trained.parents)} if self.trained.parents else {}
        return {
            MODEL_DIGEST_TAG: model.digest(),
            "isthmus.run_id": model.run_id,
            "isthmus.recipe": model.recipe,
            "isthmus.recipe_digest": model.recipe_digest,
            "isthmus.code_version": model.code_version,
            "isthmus.parents": ",".join(model.parents),
            **fused_from,
            **{f"isthmus.data_digest.{site}": digest for site, digest in model.data_digests.items()},
        }


def verified_lineage(launch: RegisterLaunch) -> Lineage:
    """The lineage of `launch.model`.

    Raises:
        UserError: a file of either artefact was changed, or the two do not belong together or to the recipe.
    """
    trained = ArtifactManifest.load(launch.trained / MANIFEST)
    trained.verify(launch.trained)
    compressed = ArtifactManifest.load(launch.model / MANIFEST)
    compressed.verify(launch.model)
    if compressed.recipe != launch.recipe.name:
        raise UserError(f"{launch.model} is of recipe {compressed.recipe!r}, not {launch.recipe.name!r}; register that")
    if trained.digest() not in compressed.parents:
        made_from = ", ".join(compressed.parents) or "nothing known"
        raise UserError(
            f"{launch.model} was made from {made_from}, not from {launch.trained} ({trained.digest()}); "
            "compress that model again"
        )
    return Lineage(trained, compressed)
