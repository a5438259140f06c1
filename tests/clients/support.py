"""A connection that breaks: a TCP proxy in front of a server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Breaking:
    """Passes bytes on to a port; the first `times` streams are cut off after `after` bytes."""

    def __init__(self, port: int, *, after: int, times: int) -> None:
        self.cut = 0
        self.connections = 0
        self._port, self._after, self._times = port, after, times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
            passed, stream = 0, False
            with suppress(OSError):
                while data := server.recv(512):
                    client.sendall(data)
                    passed, stream = passed + len(data), stream or b"text/event-stream" in data
                    if stream and passed > self._after and self.cut < self._times:
                        self.cut += 1
                        break
            for side in (client, server):  # which also ends the other thread
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def breaking(port: int, *, after: int = 2500, times: int = 3) -> Iterator[Breaking]:
    proxy = Breaking(port, after=after, times=times)
    try:
        yield proxy
    finally:
        proxy.close()
