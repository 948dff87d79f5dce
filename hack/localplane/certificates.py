"""The control plane's certificate authority, its certificates and kubeconfigs.

Made with the `cryptography` library, or with the openssl program where that library is missing.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localplane.processes import write_atomically

DAYS = 3650
NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
ADDRESSES = ("127.0.0.1", "10.96.0.1")


@dataclass(frozen=True)
class Identity:
    """Whom a certificate speaks for: a user and its group, or the server itself."""

    file: str
    user: str
    group: str = ""
    server: bool = False


SERVER = Identity("server", "kube-apiserver", server=True)
ADMIN = Identity("admin", "homeport-admin", "system:masters")
CLIENTS = {
    "kube-controller-manager": Identity("controller-manager", "system:kube-controller-manager"),
    "kube-scheduler": Identity("scheduler", "system:kube-scheduler"),
    "kwok": Identity("kwok", "kwok", "system:masters"),
    # Of a real node; its name is in the kubelet's user.
    "kubelet": Identity("kubelet", "system:node:homeport-node", "system:nodes"),
    "kube-proxy": Identity("kube-proxy", "system:kube-proxy"),
    "coredns": Identity("coredns", "coredns", "system:masters"),
}
IDENTITIES = (SERVER, ADMIN, *CLIENTS.values())


class Certificates:
    """The files in one folder; made once, kept for as long as the folder is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def file(self, name: str) -> Path:
        """A file by name, e.g. ca.crt, admin.key, sa.pub."""
        return self.directory / name

    def ensure(self) -> bool:
        """Make everything, unless it's there whole; whether it was made now."""
        done = self.directory / "done"
        wanted = " ".join(identity.file for identity in IDENTITIES)
        if done.exists() and done.read_text() == wanted:
            return False
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True, mode=0o700)
        _maker()(self.directory)
        done.write_text(wanted)
        return True

    def kubeconfig(self, path: Path, identity: Identity, port: int) -> None:
        """Write a kubeconfig that holds everything it needs."""

        def encoded(name: str) -> str:
            return base64.b64encode(self.file(name).read_bytes()).decode()

        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": encoded("ca.crt")}
        user = {
            "client-certificate-data": encoded(f"{identity.file}.crt"),
            "client-key-data": encoded(f"{identity.file}.key"),
        }
        context = {"cluster": "homeport", "user": identity.user, "namespace": "default"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "homeport",
            "clusters": [{"name": "homeport", "cluster": cluster}],
            "users": [{"name": identity.user, "user": user}],
            "contexts": [{"name": "homeport", "context": context}],
        }
        text = json.dumps(document, indent=2)
        if not path.exists() or path.read_text() != text:
            write_atomically(path, text)


def _maker() -> Callable[[Path], None]:
    try:
        import cryptography  # noqa: F401, PLC0415
    except ImportError:
        if not shutil.which("openssl"):
            raise RuntimeError("certificates need the Python package `cryptography` or the program `openssl`") from None
        return make_with_openssl
    return make_with_cryptography


def make_with_cryptography(directory: Path) -> None:
    """Make all keys and certificates with the library."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    def new_key(name: str) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomically(directory / f"{name}.key", pem.decode())
        return key

    def subject(user: str, group: str = "") -> x509.Name:
        organization = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
        return x509.Name([*organization, x509.NameAttribute(NameOID.COMMON_NAME, user)])

    def sign(name: str, key: ec.EllipticCurvePrivateKey, who: x509.Name, *extensions: x509.ExtensionType) -> None:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder(subject_name=who, issuer_name=subject("homeport-local"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=DAYS))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        certificate = builder.sign(authority, hashes.SHA256())
        write_atomically(directory / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM).decode())

    authority = new_key("ca")
    sign("ca", authority, subject("homeport-local"), x509.BasicConstraints(ca=True, path_length=None))
    for identity in IDENTITIES:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if identity.server else ExtendedKeyUsageOID.CLIENT_AUTH
        extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage([usage])]
        if identity.server:
            addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
            extensions.append(x509.SubjectAlternativeName([*map(x509.DNSName, NAMES), *addresses]))
        sign(identity.file, new_key(identity.file), subject(identity.user, identity.group), *extensions)
    public = new_key("sa").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_atomically(directory / "sa.pub", pem.decode())


def make_with_openssl(directory: Path) -> None:
    """Make all keys and certificates with the program."""

    def openssl(*arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=directory, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")

    def new_key(name: str) -> None:
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
        directory.joinpath(f"{name}.key").chmod(0o600)

    new_key("ca")
    authority = ["-subj", "/CN=homeport-local", "-days", str(DAYS)]
    openssl("req", "-x509", "-new", "-sha256", "-key", "ca.key", "-out", "ca.crt", *authority)
    for identity in IDENTITIES:
        new_key(identity.file)
        group = f"/O={identity.group}" if identity.group else ""
        request = ["-subj", f"{group}/CN={identity.user}", "-out", f"{identity.file}.csr"]
        openssl("req", "-new", "-key", f"{identity.file}.key", *request)
        alternatives = [*(f"DNS:{name}" for name in NAMES), *(f"IP:{address}" for address in ADDRESSES)]
        usage = f"serverAuth\nsubjectAltName={','.join(alternatives)}" if identity.server else "clientAuth"
        directory.joinpath("extensions").write_text(f"extendedKeyUsage={usage}\n")
        signed = ["-out", f"{identity.file}.crt", "-days", str(DAYS), "-extfile", "extensions"]
        signer = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl("x509", "-req", "-sha256", "-in", f"{identity.file}.csr", *signer, *signed)
    new_key("sa")
    openssl("ec", "-in", "sa.key", "-pubout", "-out", "sa.pub")
