"""The programs of the control plane: their versions, where they are built from, what identifies a build."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

HACK = Path(__file__).resolve().parents[1]
CHECKOUT = HACK.parent
MODULES = HACK / "tools"

KUBERNETES = "v1.35.4"
ETCD = "v3.6.5"
KWOK = "v0.8.0"

BUILD_FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false")
BUILD_ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}


@dataclass(frozen=True)
class Tool:
    """One program, built from one of the modules under hack/tools."""

    name: str
    version: str
    module: str
    package: str
    ldflags: str = "-s -w"

    @property
    def directory(self) -> Path:
        """The folder of the Go module that pins this tool."""
        return MODULES / self.module

    @property
    def digest(self) -> str:
        """What a build depends on apart from its version: the pinned modules, the flags, the platform."""
        parts = [
            self.package,
            self.ldflags,
            *BUILD_FLAGS,
            *map("=".join, sorted(BUILD_ENVIRONMENT.items())),
            goplatform(),
        ]
        digest = hashlib.sha256("\0".join(parts).encode())
        for name in ("go.mod", "go.sum"):
            digest.update((self.directory / name).read_bytes())
        return digest.hexdigest()[:10]

    @property
    def go(self) -> tuple[int, ...]:
        """The lowest Go version that the module accepts."""
        found = re.search(r"^go (\S+)$", (self.directory / "go.mod").read_text(), re.MULTILINE)
        return parse_version(found.group(1)) if found else (1, 26)


def parse_version(text: str) -> tuple[int, ...]:
    """`go1.26.8`, `v1.35.4` or `1.25` as numbers that compare."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def goplatform() -> str:
    """This machine as Go names it, e.g. linux/amd64."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def _kubernetes(name: str) -> Tool:
    package = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    stamps = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    ldflags = " ".join(["-s -w", *(f"-X {package}.{key}={value}" for key, value in stamps.items())])
    return Tool(name, KUBERNETES, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", ldflags)


# In the order in which they are built: whatever is small first, the API server first of its module.
TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("etcd", ETCD, "etcd", "go.etcd.io/etcd/server/v3"),
        Tool("kwok", KWOK, "kwok", "sigs.k8s.io/kwok/cmd/kwok", f"-s -w -X sigs.k8s.io/kwok/pkg/consts.Version={KWOK}"),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubectl"),
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
    )
}

# A real node's programs are built on demand only.
DEFAULT = ("etcd", "kwok", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")


def cache_directory() -> Path:
    """Where binaries and toolchains are kept, outside every checkout."""
    if named := os.environ.get("HOMEPORT_CACHE"):
        return Path(named).expanduser().absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser().absolute() / "homeport"
    return Path.home() / ".cache" / "homeport"


def built_path(tool: Tool) -> Path:
    """Where a build of this tool is cached."""
    return cache_directory() / "bin" / tool.name / f"{tool.version}-{tool.digest}" / tool.name


def released_path(tool: Tool) -> Path:
    """Where a downloaded release of this tool is cached."""
    return cache_directory() / "bin" / tool.name / f"{tool.version}-release" / tool.name
