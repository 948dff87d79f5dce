"""`python -m localplane`: a local Kubernetes with Homeport on it."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console

from localplane import binaries, commands, tools
from localplane.beside import PartError
from localplane.build import BuildError
from localplane.cluster import ClusterError
from localplane.controlplane import ControlPlaneError
from localplane.demo import demo
from localplane.kubectl import KubectlError
from localplane.operatorproc import OperatorError
from localplane.state import State
from localplane.toolchain import ToolchainError

EXPECTED = (BuildError, ClusterError, ControlPlaneError, KubectlError, OperatorError, PartError, ToolchainError,
            OSError)  # fmt: skip

PIPE_WIDTH = 220  # of tables that nobody's terminal wraps


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python -m localplane", description=__doc__)
    root.add_argument("--state-dir", type=Path, help="where it keeps what runs (default: .homeport in the checkout)")
    subcommands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = subcommands.add_parser("up", help="start the cluster, install the CRDs and policies, start the operator")
    one.add_argument("--no-operator", action="store_true", help="leave the operator to you")
    one = subcommands.add_parser("down", help="stop all of it; the data is kept")
    one.add_argument("--purge", action="store_true", help="delete the data too")
    subcommands.add_parser("status", help="show what runs; exit 1 when something is not well")
    subcommands.add_parser("env", help="print shell code that sets KUBECONFIG and PATH")
    one = subcommands.add_parser("demo", help="up, apply the examples, follow them until they are Ready")
    one.add_argument("--timeout", type=float, default=300.0, help="seconds to wait for Ready (default 300)")
    subcommands.add_parser("prepare", help="get the programs that the tests run, all that this machine can use")
    one = subcommands.add_parser("binaries", help="find, download or build the programs, and print where they are")
    one.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(tools.DEFAULT)}")
    return root


def main(argv: list[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    arguments = parser().parse_args(argv)
    # What env and binaries print is for programs: everything said to a person goes to stderr there.
    stderr = arguments.command in ("env", "binaries")
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    console = Console(stderr=stderr, width=None if terminal else PIPE_WIDTH)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(arguments, console)
    except EXPECTED as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; run it again to go on where it was", style="yellow")
        return 130


def _run(arguments: argparse.Namespace, console: Console) -> int:
    state = State.at(arguments.state_dir)
    match arguments.command:
        case "up":
            commands.up(console, state, operator=not arguments.no_operator)
            console.print('next: eval "$(make -s env)"', highlight=False, markup=False)
        case "down":
            commands.down(console, state, purge=arguments.purge)
        case "status":
            return 0 if commands.status(console, state) else 1
        case "env":
            sys.stdout.write(commands.env(state))
        case "demo":
            return demo(console, state, timeout=arguments.timeout)
        case "prepare":
            commands.prepare(console)
        case "binaries":
            unknown = [name for name in arguments.names if name not in tools.TOOLS]
            if unknown:
                raise ClusterError(f"unknown: {', '.join(unknown)}; known: {', '.join(tools.TOOLS)}")
            for path in binaries.ensure(arguments.names or tools.DEFAULT, console).values():
                sys.stdout.write(f"{path}\n")
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
