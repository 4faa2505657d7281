"""TCP connections that carry numbered messages there and back: `serve PORT`, or `ask ADDRESS PORT HOW_MANY FILE`.

The asking side writes how many answers each connection has had. An answer that is not the one expected ends it.
"""

import json
import os
import selectors
import socket
import sys
import threading
from pathlib import Path

_PAUSE_S, _BYTES = 0.05, 64


def serve(port):
    listener = socket.create_server(("", port))
    chosen = selectors.DefaultSelector()
    chosen.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in chosen.select():
            if key.fileobj is listener:
                chosen.register(listener.accept()[0], selectors.EVENT_READ)
            elif not _answered(key.fileobj):
                chosen.unregister(key.fileobj)
                key.fileobj.close()


def _answered(connection):
    """Whether it goes on: an asker that is killed with an answer unread resets its connections."""
    try:
        if said := connection.recv(4096):
            connection.sendall(said)
            return True
    except ConnectionError:
        return False
    return False


def ask(address, port, answers, which):
    with socket.create_connection((address, port), timeout=None) as connection:
        reading = connection.makefile("rb")
        while True:
            message = b"%*d\n" % (_BYTES - 1, answers[which])
            connection.sendall(message)
            if reading.read(_BYTES) != message:
                os._exit(1)
            answers[which] += 1
            threading.Event().wait(_PAUSE_S)


def main(address, port, how_many, target):
    answers = [0] * how_many
    for which in range(how_many):
        threading.Thread(target=ask, args=(address, port, answers, which), daemon=True).start()
    scratch = target.with_suffix(".tmp")
    while True:
        scratch.write_text(json.dumps(answers), encoding="utf-8")
        scratch.replace(target)
        threading.Event().wait(_PAUSE_S)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        main(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
