"""The frames, to a container and from it."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, field_validator

from homeport.plan.agent.payload import Payload, Probe, Variable, Wire

PROTOCOL = 1
"""The version of what is said; in the path, ``/agent/v1``."""
PATH = f"/agent/v{PROTOCOL}"
FRAME_LIMIT = 1024 * 1024
"""Bytes of a frame from a container: a larger one ends the connection."""
PAYLOAD_LIMIT = 8 * 1024 * 1024
"""Bytes of a frame to a container."""
OUTPUT_LIMIT = 256 * 1024
"""Bytes of each of a command's outputs that are sent at most; init keeps the last ones and counts the rest."""
LOG_LINES = 1000
"""Lines of a log that can be asked for at most."""
SEVERAL = "processes"
"""The feature of an init that keeps several processes."""


# --- from the container ---------------------------------------------------------------------------------------------


class Hello(Wire):
    """The first frame. The operator answers Welcome, or Refused and ends."""

    type: Literal["hello"] = "hello"
    protocol: int
    container: str
    """The AgentId; empty from a container that was told no more than its claim, by whose name it is found."""
    claim: str = ""
    """``NAME.TOKEN``, as it is in the environment; of a hostname the token's first half; ``NAME.`` once it was used."""
    credential: str = Field(repr=False)
    """32 random bytes in hexadecimal, which init made before its first connection and keeps."""
    instance: str
    """Made anew with each start of init: the same one again is a reconnection, another one may be a copy."""
    version: str = ""
    """Init's."""
    architecture: str = ""
    features: tuple[str, ...] = ()
    """What it can do beyond the protocol's first version: ``SEVERAL``."""

    @field_validator("credential")
    @classmethod
    def _long_enough(cls, value: str) -> str:
        try:
            found = bytes.fromhex(value)
        except ValueError:
            found = b""
        if len(found) != 32:
            raise ValueError("32 bytes in hexadecimal are wanted")
        return value


Phase = Literal["Waiting", "Running", "Backoff", "Stopping", "Exited", "Idle"]
"""Waiting: for the first payload, or for the start of what was delivered. Backoff: it ended, and is started again.
Exited: a job that is done. Idle: a schedule between two runs."""


class Run(Wire):
    """A run that has ended, of a process that is restarted, a job or a schedule."""

    started_at: str
    finished_at: str
    exit_code: int
    """As a shell says it: 128 + n after signal n."""
    reason: str = ""
    """Completed, Error, OOMKilled (when known), Interrupted (init ended before it), CannotStart."""
    message: str = ""
    """Of init, not of the process; nothing secret."""


class ProcessState(Wire):
    """How a process is."""

    name: str = ""
    """Empty for the only one."""
    phase: Phase
    started_at: str = ""
    """Of the process that runs."""
    restarts: int = 0
    """Since init started."""
    last: Run | None = None
    run: str = ""
    """The job's run that ``last`` is of."""
    started: bool = False
    """Whether the startup probe has succeeded, or there is none and it runs."""
    ready: bool = False
    """Whether it runs, has started, and the readiness probe succeeds or there is none."""
    unready: str = ""
    """Which probe fails, and how; a sentence without the process's own words."""
    next_run: str = ""
    """For a schedule."""


class State(ProcessState):
    """How the container is: sent after Welcome and after each change, always whole. Of several processes it says how
    they are as one: as well as the one that is worst."""

    type: Literal["state"] = "state"
    digest: str = ""
    """Of the payload that is in force; empty before the first."""
    error: str = ""
    """What of the payload couldn't be done; the last one stays in force."""
    processes: tuple[ProcessState, ...] = ()
    """Each of several."""


class Output(Wire):
    """A piece of a command's output, for one that is streamed."""

    type: Literal["output"] = "output"
    id: int
    stream: Literal["stdout", "stderr"]
    data: str = Field(repr=False)
    """Base64, of at most 32 KiB."""


class Result(Wire):
    """How a command or a check ended."""

    type: Literal["result"] = "result"
    id: int
    exit_code: int = -1
    """-1 when there is none: see ``error``."""
    timed_out: bool = False
    stdout: str = Field(default="", repr=False)
    """Base64 of its last bytes, unless it was streamed."""
    stderr: str = Field(default="", repr=False)
    dropped: int = 0
    """Bytes of both that aren't here."""
    error: str = ""
    """Why it couldn't be run."""


class Log(Wire):
    """The end of what the process has written."""

    type: Literal["log"] = "log"
    id: int
    lines: tuple[str, ...] = Field(repr=False)


# --- to the container -----------------------------------------------------------------------------------------------


class Welcome(Wire):
    """It may go on."""

    type: Literal["welcome"] = "welcome"
    trust: tuple[str, ...] = ()
    """SHA-256 fingerprints of the certificates that the operator has or will have, instead of those that init knew."""


class Refused(Wire):
    """It may not; the connection ends."""

    type: Literal["refused"] = "refused"
    reason: str
    """A sentence, which init shows on its console."""


class Deliver(Wire):
    """What to run from now on."""

    type: Literal["deliver"] = "deliver"
    digest: str
    """Names the payload. It is keyed with the operator's key, so that it tells nothing of what is in it."""
    payload: Payload


class Exec(Wire):
    """Run a command beside the process, with its environment, user and folder."""

    type: Literal["exec"] = "exec"
    id: int
    command: tuple[str, ...]
    process: str = ""
    """Beside which of several; empty is the first."""
    env: tuple[Variable, ...] = ()
    stdin: str = Field(default="", repr=False)
    """Base64."""
    timeout_seconds: float = 30.0
    """After which it and its children are killed."""
    limit: int = OUTPUT_LIMIT
    """Bytes of each output that are kept."""
    stream: bool = False
    """True sends Output as it comes; nothing is left out then, and the command waits while the network does."""
    root: bool = False
    """As root of the container instead of the process's user."""


class Check(Wire):
    """Make a check once, now; Result's exit code is 0 when it succeeds."""

    type: Literal["check"] = "check"
    id: int
    process: str = ""
    """Beside which of several a command is run; empty is the first."""
    probe: Probe


class Cancel(Wire):
    """Kill a command."""

    type: Literal["cancel"] = "cancel"
    id: int


class GetLog(Wire):
    """Send the end of the log."""

    type: Literal["getLog"] = "getLog"
    id: int
    lines: int = 100


class Finish(Wire):
    """A job's result has been kept: the container may stop."""

    type: Literal["finish"] = "finish"
    run: str = ""


FromContainer = Annotated[Hello | State | Output | Result | Log, Field(discriminator="type")]
ToContainer = Annotated[
    Welcome | Refused | Deliver | Exec | Check | Cancel | GetLog | Finish, Field(discriminator="type")
]

FROM_CONTAINER: TypeAdapter[FromContainer] = TypeAdapter(FromContainer)
TO_CONTAINER: TypeAdapter[ToContainer] = TypeAdapter(ToContainer)


def encode(message: Wire) -> str:
    """A frame's text."""
    return message.model_dump_json(by_alias=True, exclude_none=True)


def decode64(text: str) -> bytes:
    """Base64 as bytes. Raises ValueError."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None
