"""`python -m infra.local.leash COMMAND...`: run a command that ends when standard input closes.

Whoever starts a job holds the other end of that pipe. However it goes, by a signal that can be handled or by one
that cannot, the kernel closes the pipe, and the job with all its descendants is ended.
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

import psutil

from infra.local.supervision import stop_tree


def main() -> int:
    """Exit status of the command, or 128 + SIGTERM when it was ended."""
    # a session of its own for the command would hide it from a kill of the whole group
    job = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    ending, ended = threading.Event(), threading.Event()
    once = threading.Lock()

    def end() -> None:
        with once:
            if not ended.is_set():
                ending.set()
                if job.poll() is None:
                    stop_tree(psutil.Process(job.pid))
                ended.set()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=end, daemon=True).start()

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # empty when the last holder of the pipe is gone
            continue
        end()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    threading.Thread(target=watch, daemon=True).start()
    status = job.wait()
    if ending.is_set():
        ended.wait()  # descendants may outlive the command itself
    return 128 + signal.SIGTERM if ending.is_set() or status < 0 else status


if __name__ == "__main__":
    sys.exit(main())
