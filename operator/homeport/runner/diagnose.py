"""What restic's words mean: its exit code and its last lines, as a reason and a sentence. Pure.

Exit codes are those of restic 0.17 and later.
https://restic.readthedocs.io/en/stable/075_scripting.html#exit-codes
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from homeport.runner.result import Failure, Outcome, Reason

INCOMPLETE, MISSING, LOCKED, WRONG_PASSWORD, STOPPED = 3, 10, 11, 12, 130
_LONGEST = 400  # characters of restic's own words in a sentence

# In this order: the first that fits says it. The dump's failure stands first, as its words may be anything.
_SIGNS: tuple[tuple[Reason, str, str], ...] = (
    (Reason.DUMP_FAILED, r"command failed:|failed to start command", "the dump failed, and nothing was saved of it"),
    (
        Reason.REPOSITORY_MISSING,
        r"NoSuchBucket|bucket does not exist",
        "the bucket doesn't exist: make it, or correct its name",
    ),
    (
        Reason.REPOSITORY_FULL,
        r"no space left on device|disk quota exceeded|StorageFull|QuotaExceeded|InsufficientCapacity|507 ",
        "the repository has no space left: make room, or forget and prune",
    ),
    (
        Reason.REPOSITORY_DENIED,
        r"Access ?Denied|InvalidAccessKeyId|SignatureDoesNotMatch"
        r"|signature we calculated|access key.*does not exist|permission denied|403 Forbidden|read-only file system",
        "the store refuses: look at the credentials and at what they may do",
    ),
    (
        Reason.REPOSITORY_DAMAGED,
        r"ciphertext verification failed|hash mismatch|hash does not match|does not match id|invalid data returned"
        r"|repository contains errors|damaged|not contained in|not found in index|unexpected pack|pack file .* missing"
        r"|incorrectly truncated|is truncated|unexpected size|data.* is missing|unable to find pack|blob .*not found"
        r"|file is too short|unexpected file size|calculated size|invalid header",
        "what is stored isn't what was written: run a check, and keep what can still be read",
    ),
    (
        Reason.REPOSITORY_UNREACHABLE,
        r"connection refused|connection reset|no such host|i/o timeout|context deadline exceeded|EOF|no route to host"
        r"|network is unreachable|TLS handshake|x509:|503 |502 |504 |broken pipe",
        "the store doesn't answer",
    ),
    (Reason.SNAPSHOT_MISSING, r"no matching ID found|no snapshot found", "there is no such snapshot"),
)


def failure(code: int, errors: Iterable[str], *, scratch: str = "") -> Failure:
    """Why restic ended with ``code``, given its lines on standard error; ``scratch`` is the runner's own folder."""
    lines = [text for line in errors for text in plain(line)]
    words = last(lines)
    match code:
        case 3:
            unread = [line for line in lines if not line.startswith("Warning:")]
            return Failure(
                Reason.SOURCE_INCOMPLETE,
                f"some of it couldn't be read: {_short('; '.join(unread))}",
                Outcome.INCOMPLETE,
            )
        case 10:
            return Failure(
                Reason.REPOSITORY_MISSING, f"there is no repository at this place; `init` makes one ({words})"
            )
        case 11:
            return Failure(Reason.REPOSITORY_LOCKED, _locked(lines))
        case 12:
            return Failure(Reason.WRONG_PASSWORD, "no key of the repository opens with this password")
        case 130:
            return Failure(Reason.INTERRUPTED, "restic was told to stop")
    whole = "\n".join(lines)
    for reason, sign, sentence in _SIGNS:
        if found := re.search(sign, whole, re.IGNORECASE):
            said = next((line for line in lines if re.search(sign, line, re.IGNORECASE)), found.group())
            if reason is Reason.DUMP_FAILED:
                said = _of_the_dump(lines) or said
            if reason is Reason.REPOSITORY_FULL and scratch and scratch in said:
                return Failure(Reason.SCRATCH_FULL, f"the runner's own disk has no space left ({_short(said)})")
            return Failure(reason, f"{sentence} ({_short(said)})")
    return Failure(Reason.REPOSITORY_FAILED, f"restic failed with code {code}: {words or 'it said nothing'}")


def plain(line: str) -> list[str]:
    """restic's lines of JSON as the words in them."""
    line = line.strip()
    if not line.startswith("{"):
        return [line] if line else []
    try:
        document = json.loads(line)
    except ValueError:
        return [line]
    error = document.get("error")
    words = error.get("message") if isinstance(error, dict) else error
    texts = [words, document.get("message"), document.get("item") if words else None]
    return [part for text in texts if text for part in str(text).splitlines() if part]


def _of_the_dump(lines: list[str]) -> str:
    """What the dumping program said itself; restic puts its own words before each line."""
    return " ".join(re.sub(r"^subprocess [^:]*: ", "", line) for line in lines if line.startswith("subprocess "))


def last(lines: list[str]) -> str:
    """The last line that says something."""
    return _short(next((line for line in reversed(lines) if line.strip()), ""))


def _locked(lines: list[str]) -> str:
    whole = " ".join(lines)
    holder = re.search(r"already locked (exclusively )?by PID (\d+) on (\S+)", whole)
    since = re.search(r"lock was created at ([^(]+)\(([^)]+) ago\)", whole)
    if holder is None:
        return f"somebody else holds the repository ({last(lines)})"
    text = f"{holder[3]} (PID {holder[2]}) holds the repository"
    if since:
        text += f" since {since[1].strip()[:19]}"
    return f"{text}; a lock whose holder is gone is stale after 30 minutes, and is removed then"


def _short(text: str) -> str:
    text = text.removeprefix("Fatal: ").strip()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
