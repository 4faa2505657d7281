"""What jobs leave behind: results and manifests, each written last and whole."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from workloads.spec.base import Frozen, Name, Sha256, SiteName, file_digest
from workloads.spec.errors import UserError

MANIFEST = "manifest.json"
RESULT = "result.json"
SIGNATURE = "model.sig"


class ArtifactManifest(Frozen):
    """`manifest.json` of a model's folder. `files` lists every other file but the signature."""

    kind: Literal["trained", "fused", "compressed"]
    run_id: Name
    recipe: Name
    recipe_digest: Sha256
    data_digests: dict[SiteName, Sha256]
    code_version: str
    parents: tuple[Sha256, ...] = ()  # digests of the manifests that this one was made from
    metrics: dict[str, float]
    parameters: PositiveInt
    files: dict[str, Sha256]

    @classmethod
    def of_files(cls, folder: Path) -> dict[str, str]:
        """Digests of all files below `folder` but the manifest and the signature."""
        return {
            str(path.relative_to(folder)): file_digest(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in {MANIFEST, SIGNATURE}
        }

    def verify(self, folder: Path) -> None:
        """Raises `UserError` naming the first file that is missing, extra or changed."""
        found = self.of_files(folder)
        for name in sorted(found.keys() | self.files.keys()):
            if found.get(name) != self.files.get(name):
                state = "is missing" if name not in found else "was added" if name not in self.files else "was changed"
                raise UserError(f"{folder / name} {state} since the model was made; run `make up` to make it again")


class RunResult(Frozen):
    """`result.json` of a training run."""

    run_id: Name
    rounds: PositiveInt
    steps: PositiveInt  # inner steps of one site
    samples: PositiveInt  # over all sites
    parameters: PositiveInt
    wall_s: PositiveFloat  # training alone, summed over resumptions
    resumed_at_round: NonNegativeInt  # 0: never interrupted
    bytes_sent: dict[SiteName, NonNegativeInt]  # payload that each site put on the link, over the whole run
    wire_bytes_sent: dict[SiteName, NonNegativeInt]  # the same with framing, before TLS
    bytes_ddp: NonNegativeInt  # what one site would have put on the link with DDP: fp32 gradients every step
    wait_s: dict[SiteName, Annotated[float, Field(ge=0)]]  # time that each site stood waiting for the link
    refused_frames: dict[str, NonNegativeInt]
    outer_state_digest: Sha256  # equal on every site
    peak_memory_bytes: dict[SiteName, PositiveInt]
    metrics: dict[str, float]  # on the held-out data of all sites, weighted by samples
    manifest_digest: Sha256


class Candidate(Frozen):
    """One setting that compression tried."""

    prune_ratio: float
    parameters: PositiveInt
    metric: float
    bytes: PositiveInt
    passed: bool


class CompressResult(Frozen):
    """`result.json` of a compression."""

    metric: str
    before: float
    after: float
    bytes_before: PositiveInt
    bytes_after: PositiveInt
    prune_ratio: float
    candidates: tuple[Candidate, ...]
    wall_s: PositiveFloat
    manifest_digest: Sha256


class RegisterResult(Frozen):
    """`result.json` of a registration."""

    name: Name
    version: str
    alias: Name
    run_id: str  # MLflow's
    url: str  # page of the version
    model_digest: Sha256
    wall_s: PositiveFloat
