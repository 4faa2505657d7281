"""What an exchange has counted: bytes and refusals. Threads of gRPC and of every peer write to it."""

import logging
import threading
from collections import Counter
from typing import Literal

from workloads.sync.frame import Reason
from workloads.sync.wire import wire_bytes

Refusal = Reason | Literal["left-out"]  # a site that takes part no more asked for a frame

LOG = logging.getLogger("workloads.sync")


class Ledger:
    """Counters of the exchange of `site`."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._lock = threading.Lock()
        self.refused: Counter[str] = Counter()
        self.payload_bytes_sent = 0
        self.payload_bytes_received = 0
        self.wire_bytes_sent = 0

    def refuse(self, reason: Refusal, source: str, detail: str) -> None:
        """Count and log a refusal of something that came from `source`."""
        with self._lock:
            self.refused[reason] += 1
        LOG.warning("%s: refused %s: %s: %s", self._site, source, reason, detail)

    def sent(self, message_bytes: int, *, is_payload: bool) -> None:
        """Count a message that goes out."""
        with self._lock:
            self.wire_bytes_sent += wire_bytes(message_bytes)
            self.payload_bytes_sent += message_bytes if is_payload else 0

    def received(self, payload_bytes: int) -> None:
        """Count a piece of payload that came in."""
        with self._lock:
            self.payload_bytes_received += payload_bytes
