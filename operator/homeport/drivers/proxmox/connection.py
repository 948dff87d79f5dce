"""One endpoint over HTTPS with proxmoxer: TLS as it was asked for, and our errors instead of its. It blocks.

What is of our own making, and why: proxmoxer checks certificates by a file of CAs or not at all (here: by PEM from
a Secret, or by fingerprint, before a byte of the token is sent); it reads the sentence of an error from the HTTP reason
alone, which can't hold all of it; and it logs what is posted, secrets too, so that its log is off.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import requests
import urllib3
from proxmoxer.backends.https import Backend, JsonSerializer
from proxmoxer.core import ProxmoxResource, ResourceException
from requests.adapters import HTTPAdapter

from homeport.drivers.proxmox import errors
from homeport.drivers.proxmox.config import CONNECT_TIMEOUT, Endpoint, HostConfig, Trust
from homeport.drivers.proxmox.guard import Guard, NotAdmittedError, guarded

logging.getLogger("proxmoxer.core").disabled = True

Params = Mapping[str, str | int | BinaryIO]
OnCall = Callable[[str, int, float], None]
"""Told after each request, in the thread that made it: HTTP method, HTTP code (0: no answer), seconds."""
Admit = Callable[[str, Callable[[str], Any]], None]
"""Given an endpoint's address, and what asks it for a path: raises ``errors.ProxmoxError`` when it mustn't be used."""

TRIES = 3
"""Connections that may end between being looked at and being used, before the endpoint counts as out of reach."""


class Broken(errors.ProxmoxError):
    """The connection broke after the request was sent, or what came back isn't an answer."""


class Silent(Broken):
    """No answer in time."""


class _Serializer(JsonSerializer):  # type: ignore[misc] # proxmoxer has no types
    """Answers as data, and errors with all that PVE says of them."""

    def loads(self, response: Any) -> Any:
        """The answer's data. Raises ValueError for what isn't PVE's JSON: a proxy's page."""
        return json.loads(response.content)["data"]

    def loads_errors(self, response: Any) -> dict[str, Any]:
        """The sentence, and the words on single parameters."""
        try:
            body = json.loads(response.content)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return {"message": "", "fields": {}}
        fields = body.get("errors")
        return {
            "message": str(body.get("message") or ""),
            "fields": {str(k): str(v).strip() for k, v in fields.items()} if isinstance(fields, dict) else {},
        }


class _Adapter(HTTPAdapter):
    """TLS by the endpoint's trust, whatever requests would do by itself."""

    def __init__(self, trust: Trust, guard: Guard) -> None:
        self._trust = trust
        self._guard = guard
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As requests does, with our TLS and our guard."""
        kwargs["ssl_context"] = _context(self._trust)
        if self._trust.fingerprint is not None:
            kwargs["assert_fingerprint"] = self._trust.digest
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"https": guarded(self._guard)}

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """The host alone: requests would put its own TLS settings in the place of ours."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context knows."""


def _context(trust: Trust) -> ssl.SSLContext:
    if trust.ca is not None:
        context = ssl.create_default_context(cadata=trust.ca)
        # PVE's own CA lacks extensions that Python has asked for since 3.13.
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Session:
    """One connection at a time, kept for the next request. ``usable``: whether it can serve another one."""

    def __init__(self, endpoint: Endpoint, config: HostConfig, on_call: OnCall) -> None:
        token = config.token
        backend = Backend(
            endpoint.host,
            port=endpoint.port,
            user=token.user,
            token_name=token.name,
            token_value=token.secret,
            timeout=(CONNECT_TIMEOUT, config.timeout),
        )
        self.guard, self.usable = Guard(), True
        self._where, self._patience, self._on_call = endpoint.url, config.timeout, on_call
        self._session = backend.get_session()
        self._session.mount("https://", _Adapter(endpoint.trust, self.guard))
        # Neither proxies nor .netrc of the operator's surroundings, and nowhere else with the token.
        self._session.trust_env = False
        self._session.max_redirects = 0
        self._root = ProxmoxResource(base_url=backend.get_base_url(), session=self._session, serializer=_Serializer())

    def ask(self, method: str, path: str, params: Params) -> Any:
        """The answer's data. A read over a kept connection that ended just then is asked once more."""
        try:
            return self._once(method, path, params)
        except Broken as error:
            if method != "GET" or isinstance(error, Silent):
                raise
            return self._once(method, path, params)

    def _once(self, method: str, path: str, params: Params) -> Any:
        started, code, self.usable = time.monotonic(), 200, True
        try:
            return _ask(self._root(path), method, params)
        except ResourceException as error:
            code = error.status_code
            said = error.errors if isinstance(error.errors, dict) else {}
            message = said.get("message") or str(error.content or error.status_message or "")
            raise errors.from_answer(code, message, said.get("fields"), write=method != "GET") from None
        except ValueError as error:
            code = 0
            if isinstance(error, requests.exceptions.InvalidURL):
                raise errors.Unreachable(0, f"{self._where}: {error}") from None
            raise Broken(0, f"{self._where}: what answered isn't Proxmox VE") from None
        except requests.exceptions.RequestException as error:
            code, self.usable = 0, False
            raise self._failure(error) from None
        except NotAdmittedError:
            code = -1
            raise
        finally:
            if code >= 0:
                self._on_call(method, code, time.monotonic() - started)

    def _failure(self, error: requests.exceptions.RequestException) -> errors.ProxmoxError:
        """Whether the request may have arrived."""
        where = self._where
        if isinstance(error, requests.exceptions.SSLError):
            return errors.Untrusted(0, f"{where}: its certificate isn't trusted: {_reason(error)}")
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return errors.Unreachable(0, f"{where}: no connection within {CONNECT_TIMEOUT:g} s")
        if isinstance(error, requests.exceptions.TooManyRedirects):
            return errors.Unreachable(0, f"{where}: it redirects elsewhere, which isn't followed; name the host itself")
        cause = error.args[0] if error.args else None
        if isinstance(cause, urllib3.exceptions.MaxRetryError) and isinstance(
            cause.reason, urllib3.exceptions.NewConnectionError
        ):
            return errors.Unreachable(0, f"{where}: {_reason(error)}")
        if isinstance(error, requests.exceptions.ReadTimeout):
            return Silent(0, f"{where}: no answer within {self._patience:g} s")
        return Broken(0, f"{where}: the connection broke: {_reason(error)}")

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()


class Connection:
    """One endpoint. Threads may share it: each request has a session to itself."""

    def __init__(self, endpoint: Endpoint, config: HostConfig, admit: Admit, on_call: OnCall) -> None:
        """``admit`` is told how to ask a connection, and raises when who answers isn't who should.

        Raises ValueError when the CA isn't one.
        """
        self.endpoint = endpoint
        self._config = config
        self._admit = admit
        self._on_call = on_call
        self._idle: queue.LifoQueue[_Session] = queue.LifoQueue()
        try:
            _context(endpoint.trust)
        except (ssl.SSLError, ValueError):
            raise ValueError("the CA isn't a certificate in PEM") from None

    def request(self, method: str, path: str, params: Params, *, sure: bool) -> Any:
        """The answer's data. Raises ``errors.ProxmoxError``, ``Broken`` among them.

        ``sure``: it goes over a connection that was admitted, or not at all.
        """
        with self._session() as session:
            return self._surely(session, method, path, params) if sure else session.ask(method, path, params)

    def _surely(self, session: _Session, method: str, path: str, params: Params) -> Any:
        for _ in range(TRIES):
            if not session.guard.admitted:
                self._look_at(session)
            try:
                with session.guard.sealed():
                    return session.ask(method, path, params)
            except NotAdmittedError:
                continue
        raise errors.Unreachable(0, f"{self.endpoint.url}: it closes each connection before anything can be asked")

    def admit(self) -> None:
        """Look at who answers. Raises ``errors.ProxmoxError``."""
        with self._session() as session:
            self._look_at(session)

    def _look_at(self, session: _Session) -> None:
        over: set[int] = set()

        def ask(path: str) -> Any:
            found = session.ask("GET", path, {})
            over.add(session.guard.connection)
            return found

        try:
            self._admit(self.endpoint.url, ask)
        except Broken as error:
            raise errors.Unreachable(0, error.message) from None
        session.guard.looked_at(over)

    @contextlib.contextmanager
    def _session(self) -> Iterator[_Session]:
        try:
            session = self._idle.get_nowait()
        except queue.Empty:
            session = _Session(self.endpoint, self._config, self._on_call)
        try:
            yield session
        finally:
            if session.usable:
                self._idle.put(session)
            else:
                session.close()

    def close(self) -> None:
        """Let go of the connections that aren't in use."""
        while True:
            try:
                session = self._idle.get_nowait()
            except queue.Empty:
                return
            session.close()


def _ask(resource: ProxmoxResource, method: str, params: Params) -> Any:
    match method:
        case "GET":
            return resource.get(**params)
        case "POST":
            return resource.post(**params)
        case "PUT":
            return resource.put(**params)
        case "DELETE":
            return resource.delete(**params)
    raise AssertionError(method)


def _reason(error: BaseException) -> str:
    """The innermost cause in a word or two: neither addresses in memory nor layers of libraries."""
    cause: Any = error.args[0] if error.args else error
    inner = getattr(cause, "reason", None) or cause
    while isinstance(inner, BaseException) and inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    text = str(inner)
    return text.split(": ", 1)[1] if text.startswith(("<", "HTTPSConnection")) and ": " in text else text
