"""What a build takes from this machine, shown to it while it runs and never part of an image: package proxies'
settings, certificates, caches."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from localplane.toolchain import find_go
from localplane.tools import cache_directory

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
SHOWN = "/etc/pki/tls/certs/machine.crt"
"""Where Go looks as well, and no package of Debian writes."""
INDEX = ("index-url", "extra-index-url", "find-links", "trusted-host", "timeout", "proxy")
GO = (1, 26)


def volumes(folder: Path) -> list[tuple[Path, str]]:
    """(here, there) of what is mounted into a build's commands; what has to be written is put into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    go = _go_environment()
    mounts = [
        (Path(go["GOROOT"]), "/usr/local/go"),
        (_made(Path(go["GOMODCACHE"])), "/root/go/pkg/mod"),
        (_made(Path(go["GOCACHE"])), "/root/.cache/go-build"),
        (_written(folder / "go.env", _go_settings(go)), "/root/.config/go/env"),
        (_made(cache_directory() / "pip"), "/root/.cache/pip"),
        (_written(folder / "pip.conf", _pip_settings()), "/etc/pip.conf"),
        (_written(folder / "apt.conf", 'Acquire::Check-Date "false";\n'), "/etc/apt/apt.conf.d/00machine"),
    ]
    if (bundle := _bundle()) is not None:
        mounts.append((bundle, SHOWN))
    return mounts


def archive() -> dict[str, str]:
    """Where this machine's apt finds Debian's archive: the addresses of `debian` and `debian-security`."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], check=False, capture_output=True, text=True
    )
    found = sorted({line.rstrip("/") for line in done.stdout.split()})
    named = {
        name: address for name in ("debian", "debian-security") for address in found if address.endswith(f"/{name}")
    }
    return {
        "debian": "http://deb.debian.org/debian",
        "debian-security": "http://deb.debian.org/debian-security",
    } | named


def _go_environment() -> dict[str, str]:
    names = ("GOROOT", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE")
    command = [find_go(GO, lambda text: None), "env", "-json", *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _go_settings(go: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in sorted(go.items()) if name.startswith(("GOP", "GOS", "GON")))


def _pip_settings() -> str:
    """pip's settings here, as far as they say where packages come from."""
    done = subprocess.run(["python3", "-m", "pip", "config", "list"], check=False, capture_output=True, text=True)
    found = dict(re.findall(r"^[^.\s]+\.([a-z-]+)='(.*)'$", done.stdout, re.MULTILINE))
    lines = [f"{name} = {found[name]}" for name in INDEX if name in found and name != "find-links"]
    return "\n".join(["[global]", f"cert = {SHOWN}", *lines, ""])


def _bundle() -> Path | None:
    """The authorities that this machine trusts, for registries behind a proxy that ends TLS."""
    named = (os.environ.get("SSL_CERT_FILE", ""), CERTIFICATES)
    return next((Path(name) for name in named if name and Path(name).is_file()), None)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
