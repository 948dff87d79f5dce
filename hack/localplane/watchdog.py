"""Ends a control plane's processes when the process that started it is gone, however it went.

Started by an ephemeral ControlPlane before anything else; its standard input is a pipe whose other end only the
starter holds.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

from localplane import node
from localplane.processes import Processes, birth


def main() -> None:
    """`watchdog PARENT BIRTH PIDS LOGS`: wait for the parent's end, then end what it left, a node's disk included."""
    parent, born, pids, logs = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while birth(parent) == born:
        readable, _, _ = select.select([sys.stdin], [], [], 1.0)
        if readable and not os.read(sys.stdin.fileno(), 1):
            break
    Processes(pids, logs).kill_all()
    node.clear(pids.parent, purge=True)


if __name__ == "__main__":
    main()
