"""What is written beside the tensors of a checkpoint: where training stood, and what makes the state one's own."""

from pydantic import NonNegativeInt

from workloads.spec.base import Frozen, Sha256
from workloads.spec.plan import Layout

MANIFEST = "manifest.json"
PROGRESS = "progress.json"


class Begun(Frozen):
    """When a turn was begun: steps made and samples trained on by then."""

    step: NonNegativeInt
    samples: NonNegativeInt


class Progress(Frozen):
    """Where a site stands, after a committed round."""

    round: NonNegativeInt = 0
    step: NonNegativeInt = 0
    samples: NonNegativeInt = 0  # trained on, so also the position in the data
    delay: NonNegativeInt = 0  # steps by which turns are begun later than planned: an outage was trained through
    pending: tuple[Begun, ...] = ()  # turns that are begun and not committed, oldest first
    merged_samples: NonNegativeInt = 0  # trained on when the newest committed turn was begun
    lost_samples: NonNegativeInt = 0  # trained on, and given up when the site was healed
    wall_s: float = 0.0
    wait_s: float = 0.0
    bytes_sent: NonNegativeInt = 0
    wire_bytes_sent: NonNegativeInt = 0


class Identity(Frozen):
    """What a state must agree on to be of use. `training` digests all that the course of training depends on."""

    model: str  # for a person
    model_digest: Sha256
    training: Sha256


class Manifest(Frozen):
    """The digests of a checkpoint's files. It is written last: a folder without it is no checkpoint.

    `layout`: with the same one a state goes on bit for bit, with another it is divided anew.
    """

    identity: Identity
    layout: Layout
    files: dict[str, Sha256]
