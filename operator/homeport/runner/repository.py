"""Making a repository, once: restic's own ``init`` has a moment in which two can win, and both lose their keys then.

``restic init`` looks for the config, writes a key, and writes the config, in this order. Of two at a time both pass the
look; the config of the one is encrypted with a key that the other's doesn't hold, and the repository may never open
again. So a claim is taken before: a lock of the file system, or an object that is written only if it is absent.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from homeport.runner.restic import Restic
from homeport.runner.result import Failure, Reason
from homeport.runner.s3 import Bucket
from homeport.runner.secrets import Secrets

CLAIM = "homeport.init"
_STALE = 120.0  # seconds after which a claim is of one that died; init itself takes two or three
_PAUSE = 0.5


def init(restic: Restic, secrets: Secrets) -> bool:
    """Make the repository unless it is there: whether this call made it. Raises Failure."""
    if restic.exists():
        return False
    with _claim(restic, secrets) as ours:
        if not ours or restic.exists():
            return False
        restic.run("init", "--repository-version=2")
        return True


@contextlib.contextmanager
def _claim(restic: Restic, secrets: Secrets) -> Iterator[bool]:
    """Hold the right to make it; False when somebody else made it meanwhile."""
    if restic.repository.s3:
        s3 = restic.repository.s3
        bucket = Bucket(s3, secrets.read(s3.access_key), secrets.read(s3.secret_key))
        if not _won(bucket, restic):
            yield False
            return
        try:
            yield True
        finally:
            bucket.delete(CLAIM)
        return
    with _locked(Path(restic.repository.path)):
        yield True


def _won(bucket: Bucket, restic: Restic) -> bool:
    """Whether the claim is ours; False when the repository appeared while another held it."""
    until = time.monotonic() + _STALE
    while not bucket.put_if_absent(CLAIM, b"a repository is being made here\n"):
        if restic.exists():
            return False
        if time.monotonic() > until:
            bucket.delete(CLAIM)
            until = time.monotonic() + _STALE
        time.sleep(_PAUSE)
    return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """A lock that ends with its process, also on NFS."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / CLAIM).open("w")
    except OSError as error:
        reason = Reason.REPOSITORY_FULL if error.errno == 28 else Reason.REPOSITORY_DENIED
        raise Failure(reason, f"{folder} can't be written to: {error.strerror}") from None
    with file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield
