"""Where an API server is and who we are to it: from a kubeconfig, from inside a Pod, or from a user's Secret.

A kubeconfig that the person who starts Homeport names is theirs, and may point at files. One that comes out of a
Secret (``Environment.spec.kubernetes.kubeconfigSecretRef``) is written by somebody who must not run programs, read
files or open proxies where the operator runs: only what stands in the text itself is taken (``from_inline``).
"""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeport.drivers.kubernetes import kubeconfigs
from homeport.drivers.kubernetes.kubeconfigs import KubeconfigError

__all__ = ["ClientConfig", "KubeconfigError", "KubeconfigRefused", "from_inline", "in_cluster", "load"]

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_LIFE = 60.0
"""Seconds after which a token file is read again: the kubelet rotates it well before the old one expires."""


class KubeconfigRefused(KubeconfigError):  # noqa: N818 - says what happened; the base says that it is an error
    """A kubeconfig out of a Secret that wants more than inline credentials. ``field`` names what was refused."""

    def __init__(self, field: str, instead: str) -> None:
        super().__init__(f"{field} is not accepted in a kubeconfig Secret: {instead}")
        self.field = field


@dataclass(slots=True)
class ClientConfig:
    """One API server and our credentials. ``server`` has no trailing slash; ``ssl`` is None for plain http.

    ``server_name`` is what its certificate says, when that isn't the address's host.
    """

    server: str
    ssl: ssl.SSLContext | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    server_name: str | None = None
    namespace: str = "default"
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _read_at: float | None = field(default=None, repr=False)

    def bearer(self) -> str | None:
        """The token, if there is one; out of the token file at most once a minute."""
        if self.token_file is not None:
            now = self.clock()
            if self._read_at is None or now - self._read_at >= TOKEN_LIFE:
                self.reread()
        return self.token

    def reread(self) -> bool:
        """Reads the token file now; whether the token changed. A file that is gone for a moment keeps the old token."""
        if self.token_file is None:
            return False
        try:
            token = self.token_file.read_text().strip()
        except OSError:
            return False
        self._read_at = self.clock()
        changed = token != self.token
        self.token = token
        return changed


def load(kubeconfig: Path | str | Mapping[str, Any] | None = None, *, context: str | None = None) -> ClientConfig:
    """The configuration from a path, a parsed kubeconfig, ``$KUBECONFIG``, inside a Pod, or ``~/.kube/config``.

    In that order; ``context`` overrides current-context. Raises KubeconfigError.
    """
    if isinstance(kubeconfig, Mapping):
        return _trusted(kubeconfig, Path.cwd(), context)
    if kubeconfig is None:
        named = kubeconfigs.of_environment()
        if named is None and "KUBERNETES_SERVICE_HOST" in os.environ and (IN_CLUSTER / "token").exists():
            return in_cluster()
        kubeconfig = kubeconfigs.default()
    path = Path(kubeconfig).expanduser()
    return _trusted(kubeconfigs.read(path), path.parent, context)


def in_cluster(root: Path = IN_CLUSTER) -> ClientConfig:
    """The configuration of a Pod with a service account (``root`` is where its volume is mounted)."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    config = ClientConfig(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ssl=_context(cafile=str(root / "ca.crt")),
        token_file=root / "token",
    )
    config.reread()
    if (root / "namespace").exists():
        config.namespace = (root / "namespace").read_text().strip()
    return config


def _context(**authority: str | None) -> ssl.SSLContext:
    """As clients in Go check certificates: without what Python 3.13 asks for on top, such as an Authority Key
    Identifier, which clusters' own authorities may leave out. https://docs.python.org/3/whatsnew/3.13.html#ssl"""
    context = ssl.create_default_context(**authority)  # type: ignore[arg-type]
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _trusted(content: Mapping[str, Any], folder: Path, context: str | None) -> ClientConfig:
    """A kubeconfig of the person who runs Homeport; paths in it are relative to ``folder``, its own."""
    chosen = kubeconfigs.select(content, context)
    cluster, user, namespace = chosen.cluster, chosen.user, chosen.namespace
    for name, instead in {
        "exec": "write a token, or a client certificate (a short-lived one: `kubectl create token`)",
        "auth-provider": "write a token, or a client certificate",
        "username": "write a token: API servers accept no passwords",
    }.items():
        if user.get(name):
            raise KubeconfigError(f"users[].user.{name} of the kubeconfig is not supported: {instead}")
    if cluster.get("proxy-url"):
        raise KubeconfigError("clusters[].cluster.proxy-url of the kubeconfig is not supported: name a server directly")
    data = {key: kubeconfigs.data_of(source, key, folder) for source, key in (
        (cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key"),
    )}  # fmt: skip
    token_file = user.get("tokenFile")
    config = ClientConfig(
        server=_server(cluster),
        ssl=_tls(cluster, data["certificate-authority"], data["client-certificate"], data["client-key"]),
        token=user.get("token"),
        token_file=folder / token_file if token_file and not user.get("token") else None,
        server_name=cluster.get("tls-server-name"),
        namespace=namespace,
    )
    config.reread()
    return config


_REFUSED_CLUSTER = {
    "certificate-authority": "write the certificate itself, base64, as certificate-authority-data",
    "proxy-url": "name a server that the operator reaches directly",
}
_REFUSED_USER = {
    "exec": "no program is run for it; write a token, or client-certificate-data and client-key-data",
    "auth-provider": "write a token, or client-certificate-data and client-key-data",
    "tokenFile": "write the token itself as token",
    "client-certificate": "write the certificate itself, base64, as client-certificate-data",
    "client-key": "write the key itself, base64, as client-key-data",
    "username": "API servers accept no passwords; write a token",
    "password": "API servers accept no passwords; write a token",
    "as": "give the user of the kubeconfig the rights it needs, in the other cluster",
    "as-uid": "give the user of the kubeconfig the rights it needs, in the other cluster",
    "as-groups": "give the user of the kubeconfig the rights it needs, in the other cluster",
    "as-user-extra": "give the user of the kubeconfig the rights it needs, in the other cluster",
}
_TAKEN_CLUSTER = {
    "server",
    "certificate-authority-data",
    "insecure-skip-tls-verify",
    "tls-server-name",
    "disable-compression",
    "extensions",
}
_TAKEN_USER = {"token", "client-certificate-data", "client-key-data", "extensions"}


def from_inline(text: str | bytes) -> ClientConfig:
    """The configuration out of a user's Secret: inline server, CA and credentials, and nothing else.

    Raises KubeconfigRefused naming the field and what to write instead, KubeconfigError for what isn't a kubeconfig.
    """
    chosen = kubeconfigs.select(kubeconfigs.parsed(text), None)
    cluster, user, namespace = chosen.cluster, chosen.user, chosen.namespace
    _only(cluster, "clusters[].cluster", _TAKEN_CLUSTER, _REFUSED_CLUSTER)
    _only(user, "users[].user", _TAKEN_USER, _REFUSED_USER)
    if not user.get("token") and not (user.get("client-certificate-data") and user.get("client-key-data")):
        raise KubeconfigError("the kubeconfig has no credentials: write users[].user.token, or a client certificate")
    server = _server(cluster)
    if not server.startswith("https://"):
        raise KubeconfigRefused("clusters[].cluster.server without https", "write an https:// address")
    nowhere = Path()
    return ClientConfig(
        server=server,
        ssl=_tls(
            cluster,
            kubeconfigs.data_of(cluster, "certificate-authority", nowhere),
            kubeconfigs.data_of(user, "client-certificate", nowhere),
            kubeconfigs.data_of(user, "client-key", nowhere),
        ),
        token=user.get("token"),
        server_name=cluster.get("tls-server-name"),
        namespace=namespace,
    )


def _only(entry: Mapping[str, Any], path: str, taken: set[str], refused: Mapping[str, str]) -> None:
    for name in entry:
        if name not in taken:
            instead = refused.get(name, f"only {', '.join(sorted(taken - {'extensions'}))} are")
            raise KubeconfigRefused(f"{path}.{name}", instead)


def _server(cluster: Mapping[str, Any]) -> str:
    server = str(cluster.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise KubeconfigError("clusters[].cluster.server of the kubeconfig must be an http(s) address")
    return server


def _tls(
    cluster: Mapping[str, Any], authority: bytes | None, certificate: bytes | None, key: bytes | None
) -> ssl.SSLContext | None:
    """The TLS context, or None for http. Raises KubeconfigError for certificates that don't parse."""
    if str(cluster.get("server", "")).startswith("http://"):
        return None
    try:
        context = _context(cadata=authority.decode("ascii") if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate and key:
            # Python's ssl loads a client key from a file only: it lives for a moment, readable by us alone.
            with tempfile.NamedTemporaryFile(suffix=".pem") as pem:
                pem.write(certificate + b"\n" + key)
                pem.flush()
                context.load_cert_chain(pem.name)
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise KubeconfigError(f"a certificate or key of the kubeconfig cannot be used: {error}") from None
    return context
