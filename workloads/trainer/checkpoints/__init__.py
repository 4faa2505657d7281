"""Durable states of a site: sharded, written aside while training goes on, and visible only once they are whole."""

from workloads.trainer.checkpoints.journal import Journal, TurnLog
from workloads.trainer.checkpoints.manifest import Begun, Identity, Progress
from workloads.trainer.checkpoints.places import Place
from workloads.trainer.checkpoints.store import CheckpointStore, SavedState
from workloads.trainer.checkpoints.writer import CheckpointWriter, Outcome

__all__ = [
    "Begun",
    "CheckpointStore",
    "CheckpointWriter",
    "Identity",
    "Journal",
    "Outcome",
    "Place",
    "Progress",
    "SavedState",
    "TurnLog",
]
