"""Who gets messages: a real HTTP server and a real SMTP server on loopback, which can refuse and be slow."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from registry_server import free_port


@dataclass
class Posted:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Takes POSTs. ``answers``: codes for the next ones, in turn; then 200."""

    def __init__(self) -> None:
        self.taken: list[Posted] = []
        self.tries = 0
        self.answers: list[int] = []
        self.always = 200
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.tries += 1
                code = outer.answers.pop(0) if outer.answers else outer.always
                if code < 300:
                    outer.taken.append(Posted(self.path, dict(self.headers), body))
                self.send_response(code)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"no" if code >= 300 else b"ok")

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def events(self) -> list[dict[str, Any]]:
        return [event for posted in self.taken for event in posted.json["events"]]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Inbox:
    """Where an SMTP server puts mails."""

    mails: list[EmailMessage] = field(default_factory=list)
    refuse: str = ""
    """An address that isn't taken."""
    later: int = 0
    """How many of the next mails are put off."""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address == self.refuse:
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.later:
            self.later -= 1
            return "451 later"
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


class MailServer:
    """An SMTP server; with ``password`` it wants it over TLS, of the user ``robot``."""

    def __init__(self, tls: Any = None, password: str = "", implicit: bool = False) -> None:
        self.inbox, self.port = Inbox(), free_port()

        def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
            good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"robot", password.encode())
            return AuthResult(success=good, handled=good)

        options: dict[str, Any] = {"authenticator": check, "auth_required": True} if password else {}
        if implicit:
            options |= {"ssl_context": tls, "auth_require_tls": False} if password else {"ssl_context": tls}
        elif tls is not None:
            options |= {"tls_context": tls, "require_starttls": True}
        self._controller = Controller(self.inbox, hostname="127.0.0.1", port=self.port, **options)
        self._controller.start()

    def close(self) -> None:
        self._controller.stop()
