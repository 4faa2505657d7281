"""Work that a driver does after it has answered, on its service's database."""

import logging
import threading
from collections.abc import Callable

from oslo_db.exception import DBDeadlock

from tests.lab.openstack.inside import TURN

LOG = logging.getLogger(__name__)
_AFTER_S = 0.3  # a real agent answers later as well: clients must wait for a state
_AGAIN_AFTER_S = 0.2
_ATTEMPTS = 20


class NotYetError(Exception):
    """What the work needs could not be had now, and may be had in a moment."""


def later(work: Callable[..., None], *what: str) -> None:
    """Call `work(*what)` when the request of now is through; what it raises goes to the service's log."""
    timer = threading.Timer(_AFTER_S, _repeat, (work, *what))
    timer.daemon = True
    timer.start()


def _repeat(work: Callable[..., None], *what: str) -> None:
    for _ in range(_ATTEMPTS):
        try:
            with TURN:
                work(*what)
        except (DBDeadlock, NotYetError) as why:  # the first is how `serve` calls a locked database
            LOG.warning("%s of %s: %s", work, what, why)
            threading.Event().wait(_AGAIN_AFTER_S)
        except Exception:
            LOG.exception("%s of %s", work, what)
            return
        else:
            return
