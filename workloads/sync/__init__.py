"""The cross-site rounds: quantiser, outer optimiser, frames, exchange and the synchronizer that uses them."""

from workloads.sync.exchange import Exchange
from workloads.sync.synchronizer import RoundReport, Synchronizer

__all__ = ["Exchange", "RoundReport", "Synchronizer"]
