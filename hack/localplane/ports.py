"""Free ports: found, never fixed, below the range from which the kernel takes ports for outgoing connections."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterable
from pathlib import Path

from localplane.processes import write_atomically

RANGE = range(20000, 30000)
TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Iterable[int] = ()) -> int:
    """A port that is free now and not in `taken`."""
    chooser = random.SystemRandom()
    for _ in range(TRIES):
        port = chooser.choice(RANGE)
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no free port found between {RANGE.start} and {RANGE.stop}")


class Ports:
    """The ports of one control plane, kept in a file so that a restart listens where it did before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._ports: dict[str, int] = {str(name): int(port) for name, port in json.loads(path.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            self._ports = {}

    def __getitem__(self, name: str) -> int:
        if name not in self._ports:
            self._ports[name] = free_port(self._ports.values())
            self._save()
        return self._ports[name]

    def known(self, name: str) -> int:
        """The port under this name, 0 when it has none yet."""
        return self._ports.get(name, 0)

    def renew(self, names: Iterable[str], *, always: bool = False) -> None:
        """Choose again for those whose port someone else has taken meanwhile."""
        for name in names:
            if name in self._ports and (always or not is_free(self._ports[name])):
                del self._ports[name]
            self[name]

    def _save(self) -> None:
        write_atomically(self._path, json.dumps(self._ports))
