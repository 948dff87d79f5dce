"""The one thing that restic doesn't do on S3: write an object only if it isn't there, so that one of two inits wins.

Requests are signed as AWS Signature Version 4 says.
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from homeport.runner.job import S3
from homeport.runner.result import Failure, Reason

_TIMEOUT = 20.0  # seconds
_REGION = "us-east-1"


class Bucket:
    """One bucket, with credentials."""

    def __init__(self, s3: S3, access_key: str, secret_key: str) -> None:
        self._s3 = s3
        self._access_key = access_key
        self._secret_key = secret_key

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write an object under the prefix unless there is one: whether it was written. Raises Failure."""
        status = self._request("PUT", name, content, {"if-none-match": "*"})
        if status in (409, 412):  # 409: somebody writes it at this very moment
            return False
        if status == 404:
            raise Failure(Reason.REPOSITORY_MISSING, f"the bucket {self._s3.bucket} doesn't exist: make it first")
        if status in (401, 403):
            raise Failure(
                Reason.REPOSITORY_DENIED, f"the store refuses to write into {self._s3.bucket} (HTTP {status})"
            )
        if status >= 300:
            raise Failure(Reason.REPOSITORY_FAILED, f"the store answered HTTP {status} to a write")
        return True

    def delete(self, name: str) -> None:
        """Remove an object under the prefix; one that isn't there is fine."""
        self._request("DELETE", name, b"", {})

    def _request(self, verb: str, name: str, content: bytes, extra: dict[str, str]) -> int:
        url = urlsplit(self._s3.endpoint)
        path = quote("/".join(filter(None, (url.path.rstrip("/"), "", self._s3.bucket, self._s3.prefix, name))))
        path = path if path.startswith("/") else f"/{path}"
        headers = self._signed(verb, url.netloc, path, content, extra)
        secure = url.scheme == "https"
        context = _context(self._s3.ca_file) if secure else None
        connection = (
            http.client.HTTPSConnection(url.netloc, timeout=_TIMEOUT, context=context)
            if secure
            else http.client.HTTPConnection(url.netloc, timeout=_TIMEOUT)
        )
        try:
            connection.request(verb, path, content, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException) as error:
            raise Failure(Reason.REPOSITORY_UNREACHABLE, f"the store doesn't answer ({error})") from None
        finally:
            connection.close()

    def _signed(self, verb: str, host: str, path: str, content: bytes, extra: dict[str, str]) -> dict[str, str]:
        now = datetime.now(UTC)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(content).hexdigest()
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp, **extra}
        names = ";".join(sorted(headers))
        canonical = "\n".join(
            (verb, path, "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, digest)
        )
        region = self._s3.region or _REGION
        scope = f"{day}/{region}/s3/aws4_request"
        text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        key = f"AWS4{self._secret_key}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        )
        return headers


def _context(ca_file: str) -> ssl.SSLContext:
    """As restic, in Go, checks certificates: without what Python 3.13 asks for on top, such as an Authority Key
    Identifier, which a store's own authority may leave out. https://docs.python.org/3/whatsnew/3.13.html#ssl"""
    context = ssl.create_default_context(cafile=ca_file or None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
