"""Mails by SMTP (RFC 5321), in a thread: to the very address that the guard has seen."""

from __future__ import annotations

import smtplib
import socket
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from typing import Literal

from homeport.drivers.notify.errors import NotDelivered

SECONDS = 20.0
"""That each step may take."""


@dataclass(frozen=True)
class MailServer:
    """Where mails are handed in. ``address`` is what ``host`` was resolved to."""

    host: str
    address: str
    port: int
    tls: Literal["StartTLS", "TLS", "None"]
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Letter:
    """A mail. ``id`` is the same for the same mail: mail programs show one that came twice once."""

    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    id: str


def send(server: MailServer, letter: Letter) -> tuple[str, ...]:
    """Hand a mail in; those that the server doesn't take it for, while others get it. Blocks. Raises NotDelivered."""
    try:
        with _connected(server) as smtp:
            if server.username:
                smtp.login(server.username, server.password)
            refused = smtp.send_message(_message(letter), letter.sender, letter.to)
    except smtplib.SMTPAuthenticationError:
        raise NotDelivered(
            f"{server.host} refuses the name or the password in the Secret of credentialsSecretRef", passes=False
        ) from None
    except smtplib.SMTPNotSupportedError as error:
        raise NotDelivered(f"{server.host}: {error}; see email.tls and credentialsSecretRef", passes=False) from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        who = ", ".join(sorted(error.recipients))
        raise NotDelivered(f"{server.host} refuses {who}", passes=all(400 <= code < 500 for code in codes)) from None
    except smtplib.SMTPResponseException as error:
        said = _words(error.smtp_error)
        passes = 400 <= error.smtp_code < 500
        raise NotDelivered(f"{server.host} answers {error.smtp_code} ({said})", passes=passes) from None
    except ssl.SSLCertVerificationError:
        raise NotDelivered(f"{server.host}: its certificate isn't trusted", passes=False) from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotDelivered(f"{server.host}:{server.port} can't be used: {_words(str(error))}", passes=True) from None
    return tuple(sorted(refused))


class _Pinned(smtplib.SMTP):
    """Connects to the address that was checked, and checks the certificate for the name."""

    def __init__(self, server: MailServer) -> None:
        self._address = server.address
        super().__init__(server.host, server.port, timeout=SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection((self._address, port), timeout)


class _PinnedTls(smtplib.SMTP_SSL):
    def __init__(self, server: MailServer) -> None:
        self._address = server.address
        super().__init__(server.host, server.port, timeout=SECONDS, context=ssl.create_default_context())

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = socket.create_connection((self._address, port), timeout)
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def _connected(server: MailServer) -> smtplib.SMTP:
    if server.tls == "TLS":
        return _PinnedTls(server)
    smtp = _Pinned(server)
    if server.tls == "StartTLS":
        try:
            smtp.starttls(context=ssl.create_default_context())
        except BaseException:
            smtp.close()
            raise
    return smtp


def _message(letter: Letter) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = letter.sender, ", ".join(letter.to)
    message["Subject"] = letter.subject
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{letter.id}@homeport.dev>"
    # Nobody's absence note is wanted: RFC 3834.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message


def _words(said: str | bytes) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:200]
