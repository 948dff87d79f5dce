"""The programs of the control plane: their versions, where they are built from, what identifies a build."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

HACK = Path(__file__).resolve().parents[1]
CHECKOUT = HACK.parent
MODULES = HACK / "tools"

KUBERNETES = "v1.35.4"
ETCD = "v3.6.5"
KWOK = "v0.8.0"
TRAEFIK = "v3.5.4"
HELM = "v3.22.0"
COREDNS = "v1.12.4"
RESTIC = "v0.18.1"
VERSITYGW = "v1.8.0"
REGISTRY = "v3.1.2"
GITEA = "v1.26.2"
KUSTOMIZE = "v5.8.1"
SOPS = "v3.13.3"
ACTIONLINT = "v1.7.12"
# The same as the Python package of the extra `pulumi`.
PULUMI = "v3.228.0"

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
    tags: tuple[str, ...] = ()
    """Go's build tags."""
    cgo: bool = False
    """Whether it needs a C compiler."""
    folders: tuple[str, ...] = ()
    """Folders of its module that it reads as it runs; they are kept beside the program."""

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
            *map("=".join, sorted(self.environment.items())),
            *self.tags,
            *self.folders,
            goplatform(),
        ]
        digest = hashlib.sha256("\0".join(parts).encode())
        for path in (self.directory / "go.mod", self.directory / "go.sum", *sorted(self.directory.glob("*.go"))):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:10]

    @property
    def environment(self) -> dict[str, str]:
        """What the go command is told."""
        return {**BUILD_ENVIRONMENT, "CGO_ENABLED": "1"} if self.cgo else BUILD_ENVIRONMENT

    @property
    def go(self) -> tuple[int, ...]:
        """The lowest Go version that the module accepts."""
        found = re.search(r"^go (\S+)$", (self.directory / "go.mod").read_text(), re.MULTILINE)
        return parse_version(found.group(1)) if found else (1, 26)


def has_compiler() -> bool:
    """Whether there is a C compiler, for programs with cgo."""
    return any(shutil.which(name) for name in ("cc", "gcc"))


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


def _helm() -> Tool:
    """Helm, which takes the Kubernetes version that it is told at build time for the server's when there is none."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    stamps = {"internal/version.version": HELM, "internal/version.gitTreeState": "clean"}
    for package in ("pkg/chartutil", "pkg/lint/rules"):
        stamps |= {f"{package}.k8sVersionMajor": major, f"{package}.k8sVersionMinor": minor}
    ldflags = " ".join(["-s -w", *(f"-X helm.sh/helm/v3/{key}={value}" for key, value in stamps.items())])
    return Tool("helm", HELM, "helm", "helm.sh/helm/v3/cmd/helm", ldflags)


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
        Tool("traefik", TRAEFIK, "traefik", "github.com/traefik/traefik/v3/cmd/traefik"),
        _helm(),
        Tool("restic", RESTIC, "restic", "github.com/restic/restic/cmd/restic"),
        Tool(
            "versitygw",
            VERSITYGW,
            "versitygw",
            "github.com/versity/versitygw/cmd/versitygw",
            f"-s -w -X main.Version={VERSITYGW}",
        ),
        Tool("coredns", COREDNS, "coredns", "homeport.dev/hack/tools/coredns"),
        Tool(
            "gitea",
            GITEA,
            "gitea",
            "code.gitea.io/gitea",
            f"-s -w -X main.Version={GITEA.removeprefix('v')}",
            tags=("sqlite", "sqlite_unlock_notify"),
            cgo=True,
            folders=("templates", "options", "public"),
        ),
        Tool("registry", REGISTRY, "registry", "github.com/distribution/distribution/v3/cmd/registry"),
        Tool(
            "kustomize",
            KUSTOMIZE,
            "kustomize",
            "sigs.k8s.io/kustomize/kustomize/v5",
            f"-s -w -X sigs.k8s.io/kustomize/api/provenance.version={KUSTOMIZE}",
        ),
        Tool("sops", SOPS, "sops", "github.com/getsops/sops/v3/cmd/sops"),
        Tool(
            "actionlint",
            ACTIONLINT,
            "actionlint",
            "github.com/rhysd/actionlint/cmd/actionlint",
            f"-s -w -X github.com/rhysd/actionlint.version={ACTIONLINT}",
        ),
        Tool(
            "pulumi",
            PULUMI,
            "pulumi",
            "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={PULUMI}",
        ),
    )
}

# A real node's programs, Traefik, Helm, restic, the S3 server, kustomize and sops are built on demand only.
DEFAULT = ("etcd", "kwok", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")


# What the operator runs for GitSources.
BUILDS = ("kustomize", "helm", "sops")


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
