"""A thread that works off the training thread: jobs in order and, whenever it has none, a look for what has come."""

import threading
from collections import deque
from collections.abc import Callable

_LOOK_S = 0.02  # between two looks; whoever waits for what has come calls `look_now`


class Worker:
    """Runs jobs one at a time. While there are none, nobody holds it and `is_expecting`, it calls `look` now and then.

    The thread lives while there is something to do or to expect. The first failure ends all work and is raised by every
    later call. `changed` guards whatever jobs share with other threads and is notified after each.
    """

    def __init__(self, name: str, *, is_expecting: Callable[[], bool], look: Callable[[], None]) -> None:
        self.changed = threading.Condition()
        self._name = name
        self._is_expecting = is_expecting
        self._look = look
        self._jobs: deque[Callable[[], None]] = deque()
        self._holders: set[str] = set()
        self._failure: BaseException | None = None
        self._is_busy = False
        self._is_closed = False
        self._looks_now = False
        self._thread: threading.Thread | None = None

    @property
    def is_held(self) -> bool:
        """Whether someone keeps it from looking."""
        return bool(self._holders)

    def submit(self, job: Callable[[], None]) -> None:
        """Do `job` after all earlier ones. Raises what has failed before."""
        with self.changed:
            self._raise_failure()
            self._jobs.append(job)
            self._wake()

    def look_now(self) -> None:
        """Look as soon as there is no job. Raises what has failed before."""
        with self.changed:
            self._raise_failure()
            self._looks_now = True
            self._wake()

    def wait_for(self, is_so: Callable[[], bool], timeout_s: float | None) -> bool:
        """Whether `is_so` within `timeout_s` (None: however long it takes). Raises what has failed."""
        with self.changed:
            self.changed.wait_for(lambda: is_so() or self._failure is not None or self._is_closed, timeout_s)
            self._raise_failure()
            return is_so()

    def wait_for_jobs(self) -> None:
        """Return when all jobs are done. Raises what has failed."""
        self.wait_for(lambda: not self._jobs and not self._is_busy, None)

    def hold(self, holder: str) -> None:
        """Finish all jobs, and look no more until `release`. Raises what has failed."""
        with self.changed:
            self._holders.add(holder)
        self.wait_for_jobs()

    def release(self, holder: str) -> None:
        """Look again, if nobody else holds. Raises what has failed."""
        with self.changed:
            self._raise_failure()
            if holder in self._holders:
                self._holders.remove(holder)
                self._wake()

    def close(self) -> None:
        """End the thread; what it has not begun is not done."""
        with self.changed:
            self._is_closed = True
            self.changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        if self._thread is None and not self._is_closed:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self.changed.notify_all()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            failure: BaseException | None = None
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever asks next
                failure = error
            with self.changed:
                self._is_busy = False
                self._failure = failure
                self.changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """What to do next; None: the thread ends."""
        has_looked = False
        with self.changed:
            while not self._is_closed and self._failure is None:
                if self._jobs:
                    self._is_busy = True
                    return self._jobs.popleft()
                if not self._is_expecting():
                    break
                if not self._holders and (has_looked or self._looks_now):
                    self._looks_now = False
                    self._is_busy = True
                    return self._look
                has_looked = not self.changed.wait(None if self._holders else _LOOK_S)
            self._thread = None
            return None
