"""Builds a Dockerfile with Buildah: the machine's, or Debian's unpacked into the cache and never installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from imaging import machine
from localplane import debian
from localplane.debian import Layer
from localplane.tools import CHECKOUT, cache_directory

PACKAGE = Layer(("buildah",))
PATCHELF = Layer(("patchelf",))
BOOTSTRAP = Layer(("mmdebstrap",))
SUITE = "trixie"
NEEDED = ("perl", "chroot", "mount", "umount")
EPOCH = 1789689600
"""The time in an image that is built here: that of the Debian snapshot that the Dockerfiles name."""
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
DRIVER = "overlay"
STEPS = 120
"""Built steps that are kept, some 100 MB each."""
BASE = "localhost/homeport-debian"


class ImageError(RuntimeError):
    """An image can't be built; the message has the program's last words."""


def obstacles() -> list[str]:
    """What this machine lacks to build images, for people; empty when it can."""
    if sys.platform != "linux":
        return ["it needs Linux"]
    found = [] if os.geteuid() == 0 else ["it needs root"]
    return found + [f"it needs the program {name}" for name in (*NEEDED, *debian.missing()) if not shutil.which(name)]


class Buildah:
    """Buildah with its images in a folder of its own."""

    def __init__(self, storage: Path | None = None) -> None:
        self.folder = cache_directory() / "buildah"
        self.storage = storage or self.folder / "storage"
        self._environment = self._prepare()

    def _prepare(self) -> dict[str, str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.storage.mkdir(parents=True, exist_ok=True)
        (self.folder / "policy.json").write_text(json.dumps(POLICY))
        (self.folder / "registries.conf").write_text("")
        (self.folder / "containers.conf").write_text("")
        scratch = self.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        own = {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "TMPDIR": str(scratch),
        }
        if shutil.which("buildah"):
            self.program = str(shutil.which("buildah"))
        else:
            self.program = str(self._unpacked())
        return {**os.environ, **own}

    def _unpacked(self) -> Path:
        """Debian's program, told where the libraries beside it are: it starts itself again without LD_LIBRARY_PATH."""
        tree, tools = debian.tree(PACKAGE), debian.tree(PATCHELF)
        program = self.folder / "bin" / f"buildah-{tree.parent.name}"
        if not program.exists():
            program.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=program.parent) as folder:
                made = Path(folder) / "buildah"
                shutil.copy(tree / "usr/bin/buildah", made)
                # RPATH rather than RUNPATH, for it holds for the libraries' own libraries, too.
                words = ["--force-rpath", "--set-rpath", debian.libraries(tree), str(made)]
                subprocess.run([str(tools / "usr/bin/patchelf"), *words], check=True, capture_output=True)
                made.rename(program)
        return program

    def run(self, command: str, *words: str, seconds: float = 1500.0) -> str:
        """What a command prints. Raises ImageError."""
        storage = ["--root", str(self.storage), "--runroot", str(self.storage / "run"), "--storage-driver", DRIVER,
                   # Else a mount is left over the folder, which then can't be deleted.
                   "--storage-opt", "overlay.skip_mount_home=true"]  # fmt: skip
        policy = (
            ["--signature-policy", str(self.folder / "policy.json")]
            if command in ("build", "pull", "push", "commit")
            else []
        )
        done = subprocess.run(
            [self.program, *storage, command, *policy, *words], check=False, capture_output=True, text=True,
            env=self._environment, timeout=seconds,
        )  # fmt: skip
        if done.returncode:
            raise ImageError(f"buildah {command} failed: {(done.stdout + done.stderr).strip()[-3000:]}")
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        """Whether an image of that name is there."""
        return bool(self.run("images", "--quiet", "--filter", f"reference={image}"))

    def tidy(self) -> None:
        """Drop what killed builds left, and all steps once there are many: each change of the checkout adds some."""
        self.run("rm", "--all")
        if len(self.run("images", "--all", "--quiet").splitlines()) > STEPS:
            self.run("rmi", "--all", "--force")

    def base(self) -> str:
        """An image like `debian:trixie-slim`, for which no registry is asked; made when it isn't there."""
        if not self.has(BASE):
            tar = self.folder / "base.tar"
            _bootstrap(tar)
            container = self.run("from", "scratch")
            self.run("add", container, str(tar), "/")
            self.run("commit", "--rm", "--timestamp", str(EPOCH), container, BASE)
            tar.unlink()
        return BASE

    def build(self, dockerfile: Path, name: str, arguments: Mapping[str, str]) -> str:
        """Build an image; its name. Steps that were built before, from the same, aren't run again."""
        mounts = machine.volumes(self.folder / "machine")
        given = {"DEBIAN": BASE, "GOLANG": BASE, "SNAPSHOT": "", "SOURCE_DATE_EPOCH": str(EPOCH), **arguments}
        words = [
            "--pull-never", "--isolation", "chroot", "--format", "oci", "--timestamp", str(EPOCH), "--layers",
            *(f"--volume={here}:{there}" for here, there in mounts),
            *(f"--build-arg={key}={value}" for key, value in given.items()),
        ]  # fmt: skip
        self.run("build", *words, "-f", str(dockerfile), "-t", name, str(CHECKOUT))
        return name

    def export(self, image: str, folder: Path) -> Path:
        """Write an image as an OCI layout; the folder."""
        shutil.rmtree(folder, ignore_errors=True)
        self.run("push", image, f"oci:{folder}:{image.rpartition('/')[2]}")
        return folder

    def load(self, folder: Path, image: str) -> None:
        """Take an image from an OCI layout that ``export`` wrote."""
        self.run("tag", self.run("pull", f"oci:{folder}:{image.rpartition('/')[2]}").splitlines()[-1], image)

    def discard(self) -> None:
        """Delete the folder with its images. What a build that was killed left mounted beneath is taken off first:
        Go's cache is among what builds mount, and must not go with the folder."""
        beneath = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for point in sorted((at for at in beneath if Path(at).is_relative_to(self.storage)), reverse=True):
            subprocess.run(["umount", "--lazy", point], check=True, capture_output=True)
        shutil.rmtree(self.storage)


def _bootstrap(tar: Path) -> None:
    addresses = machine.archive()
    sources = [
        f"deb {addresses['debian']} {SUITE} main",
        f"deb {addresses['debian']} {SUITE}-updates main",
        f"deb {addresses['debian-security']} {SUITE}-security main",
    ]
    program = debian.tree(BOOTSTRAP) / "usr/bin/mmdebstrap"
    command = ["perl", str(program), "--mode=root", "--variant=minbase", '--aptopt=Acquire::Check-Date "false"']
    done = subprocess.run(
        [*command, SUITE, str(tar), *sources], check=False, capture_output=True, text=True, timeout=600,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
    )  # fmt: skip
    if done.returncode:
        raise ImageError(f"mmdebstrap failed: {done.stderr.strip()[-1500:]}")
