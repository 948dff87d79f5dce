"""A cable between a client and a server, which can be cut in the middle of what it carries."""

from __future__ import annotations

import contextlib
import socket
import threading


class Cut:
    """A TCP proxy to a port. ``answers``: what comes from the server counts, instead of what goes to it."""

    def __init__(self, port: int, *, answers: bool = False) -> None:
        self._answers = answers
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.carried = 0
        self.after = 0
        """Cut after so many bytes; 0 never."""
        self._cut = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._cut.is_set():
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._port))
            self._open += [client, server]
            threading.Thread(target=self._carry, args=(client, server, not self._answers), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, client, self._answers), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, count: bool) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
                if count:
                    self.carried += len(data)
                    if self.after and self.carried > self.after:
                        self.cut()
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End all connections, and every new one at once."""
        self._cut.set()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Carry again."""
        self.after = 0
        self._cut.clear()

    def close(self) -> None:
        self.cut()
        self._listener.close()
