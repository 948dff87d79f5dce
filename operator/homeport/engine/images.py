"""Images as templates on a host's storage: pulled, given the init, uploaded; each once, and never twice at a time.

All of it goes on in the background: whoever asks is answered what to wait for, and woken. The archive's name and size
are known before anything is fetched (of a flattened one, the name without the size that is in it), so what an earlier
process has uploaded is found, and what it left half-done is told from that. Nothing is kept on this machine but the one
archive that is being made.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.oci import archive, errors, flatten
from homeport.drivers.oci.archive import Archive
from homeport.drivers.oci.credentials import Login
from homeport.drivers.oci.flatten import Flat
from homeport.drivers.oci.reference import Reference
from homeport.drivers.oci.registry import Image, Registry
from homeport.drivers.proxmox import errors as host_errors
from homeport.drivers.proxmox.protocol import ProxmoxHost
from homeport.outcome import Outcome, Stalled, Transient, Wait
from homeport.plan.proxmox.tasks import Upid

log = logging.getLogger(__name__)

LIMIT = 16 * 1024**3
"""Bytes of an archive, at most."""
SPARE = 256 * 1024**2
"""Bytes that must be left free on this machine."""
POLL = 1.0
"""Seconds between two looks at a task."""
AGAIN = 30.0
"""Seconds before what failed for now is tried again."""
KEPT = 600.0
"""Seconds for which a failure that only a person can mend is told without trying again."""
LOOKED = 600.0
"""Seconds for which a template that was seen on its storage counts as being there."""
IDLE = 86400.0
"""Seconds for which a template that somebody has asked for isn't removed."""


@dataclass(frozen=True)
class Wanted:
    """An image on a storage, for an installation of ours.

    ``digest`` is what was resolved before; empty to find out what the name leads to now.
    """

    host: str
    node: str
    storage: str
    image: str
    installation: str
    digest: str = ""
    delivery: Literal["Agent", "Plain"] = "Agent"
    operator: tuple[tuple[str, str], ...] = ()
    """Where the operator is, by the names of an init's environment, for a host whose containers have none (before 9.1):
    the template is one root filesystem then, and has this in it."""
    architecture: str = "amd64"
    logins: tuple[Login, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Template:
    """It is there: its volume, and the digest that the name led to, to be kept."""

    volume: str
    digest: str


@dataclass
class _Job:
    """One image on its way to one storage."""

    task: asyncio.Task[None] | None = None
    waiting: set[OwnerKey] = field(default_factory=set)
    step: str = "looking at the image"
    found: Template | None = None
    problem: Outcome | None = None
    at: float = 0.0
    asked: float = 0.0
    """When somebody last asked for it."""
    file: str = ""
    """The template's name, once it is known."""


class Images:
    """``program`` gives the init for an architecture; LookupError where there is none."""

    def __init__(
        self, wake: Callable[[OwnerKey], None], clock: Callable[[], float], program: Callable[[str], bytes]
    ) -> None:
        self.program = program
        self.mirrors: dict[str, str] = {}
        """URLs that are asked instead of registries, by these; ``*`` is every registry."""
        self.folder: Path | None = None
        """Where archives are made; None for the system's folder of temporary files."""
        self._wake = wake
        self._clock = clock
        self._jobs: dict[Wanted, _Job] = {}
        self._resolved: dict[tuple[str, str], Image] = {}
        self._making = asyncio.Semaphore(1)
        self._at_work: dict[tuple[str, str, str], asyncio.Lock] = {}

    def template(self, wanted: Wanted, driver: ProxmoxHost, key: OwnerKey) -> Template | Outcome:
        """The template, or what to wait for; ``key`` is woken then. Needs a running loop; returns at once."""
        job = self._jobs.setdefault(wanted, _Job())
        job.asked = self._clock()
        age = self._clock() - job.at
        if job.found is not None and age < LOOKED:
            return job.found
        if job.problem is not None and age < (KEPT if isinstance(job.problem, Stalled) else AGAIN):
            return job.problem
        job.waiting.add(key)
        if job.task is None or job.task.done():
            job.task = asyncio.create_task(self._bring(wanted, driver, job), name=f"image {wanted.image}")
        return Wait(Reason.PROGRESSING, f"image {wanted.image}: {job.step}", AGAIN)

    async def _bring(self, wanted: Wanted, driver: ProxmoxHost, job: _Job) -> None:
        job.found = job.problem = None
        try:
            job.found = await self._brought(wanted, driver, job)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            job.problem = _problem(wanted, error)
        job.at = self._clock()
        waiting, job.waiting = job.waiting, set()
        for key in waiting:
            self._wake(key)

    async def _brought(self, wanted: Wanted, driver: ProxmoxHost, job: _Job) -> Template:
        reference = Reference.parse(wanted.image)
        if wanted.digest:
            reference = reference.at(wanted.digest)
        registry = Registry(wanted.logins, self.mirrors)
        try:
            image = await registry.image(reference, wanted.architecture)
            made = self._form(wanted, image)
            if made.pulled > LIMIT:
                raise errors.Unusable(f"{reference} is larger than {LIMIT // 1024**3} GiB")
            async with self._alone(wanted.host, wanted.storage, made.stem):
                file = await self._there(wanted, driver, made, job)
                job.file = file or made.stem
                if file is None:
                    file = job.file = await self._upload(wanted, driver, made, partial(registry.blob, reference), job)
            return Template(f"{wanted.storage}:vztmpl/{file}", image.digest)
        finally:
            await registry.close()

    def _form(self, wanted: Wanted, image: Image) -> Archive | Flat:
        """What the image becomes for this host. Raises LookupError without an init for it."""
        if wanted.delivery == "Plain":
            return archive.as_it_is(image, wanted.installation)
        program = self.program(wanted.architecture)
        if wanted.operator:
            return flatten.with_init(image, program, wanted.installation, dict(wanted.operator))
        return archive.with_init(image, program, wanted.installation)

    async def _there(self, wanted: Wanted, driver: ProxmoxHost, made: Archive | Flat, job: _Job) -> str | None:
        """The file, if it is there and whole. What another process left half-done is no template."""
        while True:
            volumes = await driver.templates(wanted.node, wanted.storage)
            found = {one.id.partition(":vztmpl/")[2]: one.size for one in volumes}
            if (file := made.whole(found)) is not None:
                return file
            if (half := made.half(found)) is None:
                return None
            if not await driver.active(wanted.node, "imgcopy"):
                break
            job.step = "another process is uploading it"
            await asyncio.sleep(POLL)
        # An upload takes the place of what is there (pve-manager, API2/Storage/Status.pm).
        log.warning("%s on %s is %d bytes: an upload that was broken off", half, wanted.storage, found[half])
        return None

    async def _upload(
        self, wanted: Wanted, driver: ProxmoxHost, made: Archive | Flat, fetch: archive.Fetch, job: _Job
    ) -> str:
        """Make it, and bring it there; the file's name."""
        job.step = "waiting for other images"
        async with self._making:
            with tempfile.TemporaryDirectory(prefix="homeport-image-", dir=self.folder) as folder:
                free = shutil.disk_usage(folder).free
                if free < made.room + SPARE:
                    raise errors.Unavailable(
                        f"{wanted.image} needs {made.room // 1024**2} MiB on the operator's disk, and "
                        f"{free // 1024**2} MiB are free"
                    )
                job.step = f"pulling {made.pulled // 1024**2} MiB"
                path, checksum = await made.write(Path(folder), fetch)
                job.step = f"uploading {path.stat().st_size // 1024**2} MiB to {wanted.storage} of {wanted.node}"
                upid = await driver.upload(wanted.node, wanted.storage, path, checksum)
                await _ended(driver, upid)
                return path.name

    def needs(self, host: str, storage: str, file: str) -> bool:
        """Whether somebody has asked for a template lately."""
        now = self._clock()
        return any(
            (wanted.host, wanted.storage) == (host, storage)
            and job.file in (file, flatten.stem_of(file))
            and now - job.asked < IDLE
            for wanted, job in self._jobs.items()
        )

    async def remove(self, driver: ProxmoxHost, host: str, node: str, storage: str, file: str) -> bool:
        """Remove a template, unless somebody needs it; whether it was. Raises ``errors.ProxmoxError``.

        Whoever asks for it meanwhile waits, and has it made anew.
        """
        async with self._alone(host, storage, file):
            if self.needs(host, storage, file):
                return False
            volume = f"{storage}:vztmpl/{file}"
            owner = f"removing {volume} of {node}"
            upid = await driver.begin(owner, "DELETE", "nodes", node, "storage", storage, "content", volume)
            try:
                await _ended(driver, upid)
            finally:
                driver.release(owner)
            return True

    def _alone(self, host: str, storage: str, file: str) -> asyncio.Lock:
        """Held by who makes or removes a template. A storage counts once, since it may be shared by nodes."""
        return self._at_work.setdefault((host, storage, flatten.stem_of(file)), asyncio.Lock())

    async def stop(self) -> None:
        """Break off what is under way."""
        running = [job.task for job in self._jobs.values() if job.task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _ended(driver: ProxmoxHost, upid: Upid) -> None:
    """Wait for a task's end. Raises ProxmoxError when it failed."""
    while (status := await driver.task(upid)).running:  # noqa: ASYNC110 - Proxmox VE doesn't call back
        await asyncio.sleep(POLL)
    if not status.succeeded:
        raise host_errors.ProxmoxError(0, f"{upid.type} on {upid.node} failed: {status.message}")


def _problem(wanted: Wanted, error: Exception) -> Outcome:
    match error:
        case errors.AccessDenied():
            return Stalled(Reason.ACCESS_DENIED, str(error))
        case errors.NoSuchImage() | errors.Unusable() | ValueError():
            return Stalled(Reason.INVALID_SPEC, str(error))
        case LookupError():
            text = f"{error.args[0]}; build it with make init, or use delivery: Plain" if error.args else "no init"
            return Stalled(Reason.DEPENDENCY_NOT_READY, text)
        case host_errors.Forbidden():
            text = f"{error}: uploading a template needs Datastore.AllocateTemplate on /storage/{wanted.storage}"
            return Stalled(Reason.ACCESS_DENIED, text)
        case errors.Unavailable() | host_errors.ProxmoxError() | OSError():
            return Transient(Reason.PROGRESSING_WITH_RETRY, str(error))
    log.exception("image %s", wanted.image, exc_info=error)
    return Transient(Reason.PROGRESSING_WITH_RETRY, f"internal error: {type(error).__name__}: {error}")
