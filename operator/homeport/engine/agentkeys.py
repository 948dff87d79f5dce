"""What the operator proves itself to containers with, and knows their claims by: one Secret for all of them.

Nothing is kept for each container: a claim's token is made of the key and of whom it is for, and made again when it is
needed. The Secret is made once. To change the certificate, put the next one under ``tls-next.crt`` too: connected
containers learn to trust it. When all have, put it and its key in the place of the first.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import secrets
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from homeport.drivers.kubernetes.cluster import Cluster
from homeport.engine.ownsecrets import made_once
from homeport.plan.agent import AgentId, Peer

SECRET = "homeport-agent"  # noqa: S105 - a name
KEY, CERTIFICATE, PRIVATE, NEXT = "key", "tls.crt", "tls.key", "tls-next.crt"
LIFETIME = datetime.timedelta(days=36500)
"""Nobody looks at the date: the certificate is recognised by its fingerprint."""


@dataclass(frozen=True)
class Keys:
    """The operator's own."""

    key: bytes = field(repr=False)
    certificate: str
    private: str = field(repr=False)
    following: str = ""
    """The certificate that will take the place of this one."""

    @classmethod
    def new(cls) -> Keys:
        """Made from nothing."""
        certificate, private = self_signed()
        return cls(secrets.token_bytes(32), certificate, private)

    @property
    def fingerprint(self) -> str:
        """Of the certificate: SHA-256, in hexadecimal."""
        return fingerprint(self.certificate)

    @property
    def trust(self) -> tuple[str, ...]:
        """The fingerprints that a container should take."""
        return tuple(dict.fromkeys(fingerprint(text) for text in (self.certificate, self.following) if text))

    def token(self, agent: AgentId, peer: Peer) -> str:
        """What shows that a claim is ours: for this container, this VMID, and this claim only."""
        return self._hmac("claim", f"{agent}\n{peer.uid}\n{peer.claim}")

    def digest(self, payload: str) -> str:
        """Names a payload and tells nothing of its content, however short that is."""
        return self._hmac("payload", payload)[:32]

    def _hmac(self, purpose: str, text: str) -> str:
        return hmac.new(self.key, f"homeport agent {purpose} v1\n{text}".encode(), hashlib.sha256).hexdigest()

    def server_context(self) -> ssl.SSLContext:
        """For a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # OpenSSL takes a private key from a file only.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "agent.pem")
            path.touch(0o600)
            path.write_text(self.private + self.certificate)
            context.load_cert_chain(path)
        return context

    def data(self) -> dict[str, str]:
        """As it is in the Secret."""
        parts = {KEY: self.key, CERTIFICATE: self.certificate.encode(), PRIVATE: self.private.encode()}
        return {name: base64.b64encode(value).decode() for name, value in parts.items()}

    @classmethod
    def of(cls, data: Mapping[str, str]) -> Keys:
        """The reverse. Raises ValueError."""
        try:
            parts = {name: base64.b64decode(text, validate=True) for name, text in data.items()}
            found = cls(parts[KEY], parts[CERTIFICATE].decode(), parts[PRIVATE].decode(), parts.get(NEXT, b"").decode())
            assert found.trust
        except KeyError as error:
            raise ValueError(f"Secret {SECRET} has no key {error.args[0]}") from None
        except ValueError as error:
            raise ValueError(f"Secret {SECRET}: {error}") from None
        if len(found.key) < 32:
            raise ValueError(f"Secret {SECRET}: what is under {KEY} is shorter than 32 bytes")
        return found


def fingerprint(certificate: str) -> str:
    """SHA-256 of a PEM certificate, in hexadecimal. Raises ValueError."""
    return x509.load_pem_x509_certificate(certificate.encode()).fingerprint(hashes.SHA256()).hex()


def credential_fingerprint(credential: str) -> str:
    """What is kept of a credential. It is random and 32 bytes long: its hash tells nothing of it."""
    return hashlib.sha256(b"homeport agent credential v1\n" + bytes.fromhex(credential)).hexdigest()


def self_signed() -> tuple[str, str]:
    """A certificate and its private key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "homeport-agent")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


async def load(cluster: Cluster, namespace: str) -> Keys:
    """The Secret's, which is made when it isn't there. Raises ApiError, and ValueError for one that can't be used."""
    return Keys.of(await made_once(cluster, namespace, SECRET, lambda: Keys.new().data()))
