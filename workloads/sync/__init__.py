"""The cross-site rounds: quantiser, outer optimiser, frames, exchange and the synchronizer that uses them."""

from workloads.sync.exchange import Exchange
from workloads.sync.progress import TurnReport
from workloads.sync.synchronizer import Synchronizer

__all__ = ["Exchange", "Synchronizer", "TurnReport"]
