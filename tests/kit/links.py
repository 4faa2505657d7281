"""A link of loopback that a test can break: a TCP relay that counts, cuts, and swallows."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_PIECE_BYTES = 64 << 10


class BreakableLink:
    """Connections to `port` come out at `target`. Each is carried by two threads, which end with it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._is_up = True
        self._is_closed = False
        self._sockets: list[socket.socket] = []
        self._swallowed: set[socket.socket] = set()
        self._is_lost = {False: False, True: False}  # by direction: whether it is back from the target
        self._delay_s = 0.0
        self._cut_after: int | None = None
        self.connections = 0
        self.bytes_out = 0  # towards the target
        self.bytes_back = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cut(self) -> None:
        """Break all connections, and every new one at once, until `restore`."""
        with self._changed:
            self._is_up = False
            self._break_all()

    def cut_after(self, bytes_back: int) -> None:
        """Break all connections once, when so many more bytes have come back from the target."""
        with self._changed:
            self._cut_after = self.bytes_back + bytes_back

    def restore(self) -> None:
        """Let new connections through; those that lost something are broken, as TCP cannot go on without it."""
        with self._changed:
            self._is_up = True
            if any(self._is_lost.values()):
                self._is_lost = {False: False, True: False}
                self._break_all()

    def swallow(self) -> None:
        """Keep what is connected now connected, and let nothing more of it arrive: the silent kind of outage."""
        with self._changed:
            self._swallowed.update(self._sockets)

    def lose(self, *, is_back: bool) -> None:
        """Let nothing through in one direction, on old connections and new ones, until `restore`."""
        with self._changed:
            self._is_lost[is_back] = True

    def delay(self, seconds: float) -> None:
        """Hold every piece that comes back for so long from now on; what is held passes at once when this becomes 0."""
        with self._changed:
            self._delay_s = seconds
            self._changed.notify_all()

    def await_connections(self, count: int, timeout_s: float) -> bool:
        """Whether there were `count` connections in all, within `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self.connections >= count, timeout_s)

    def close(self) -> None:
        """Break everything and stop."""
        with self._changed:
            self._is_closed = True
            self._break_all()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _break_all(self) -> None:
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                near, _ = self._listener.accept()
            except OSError:  # the listener is closed
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._changed:
                if not self._is_up or self._is_closed:
                    near.close()
                    far.close()
                    continue
                self.connections += 1
                self._changed.notify_all()
                self._sockets += [near, far]
                pumps = [
                    threading.Thread(target=self._carry, args=(near, far, False), daemon=True),
                    threading.Thread(target=self._carry, args=(far, near, True), daemon=True),
                ]
                self._threads += pumps
            for pump in pumps:
                pump.start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_back: bool) -> None:  # noqa: FBT001
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if source not in self._swallowed and self._count(len(piece), is_back=is_back):
                    if is_back:
                        self._hold()
                    sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def _hold(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._delay_s, self._delay_s)

    def _count(self, size: int, *, is_back: bool) -> bool:
        """Count a piece; whether it may pass."""
        with self._changed:
            if is_back:
                self.bytes_back += size
            else:
                self.bytes_out += size
            if is_back and self._cut_after is not None and self.bytes_back >= self._cut_after:
                self._cut_after = None
                self._break_all()
                return False
            return not self._is_lost[is_back]
