"""One client for OpenAI-compatible chat endpoints: local by default, remote only under a declared retention term.

PhysioNet's rule for credentialed data: sharing with third parties includes APIs; zero retention is required and the
user answers for it. So an address outside this machine is refused without the user's declaration, which is stored and
printed. Redirects are not followed and proxies of the environment are not used: either could carry data elsewhere.
"""

import http.client
import ipaddress
import json
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cxr_max.errors import CxrMaxError, RestrictedDataError, UsageError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
LIMIT = 16 * 2**20
"""Largest answer that is read, bytes."""
POLICY = "physionet.org/news/post/llm-responsible-use"


class EndpointError(CxrMaxError, ConnectionError):
    """The endpoint did not answer, or answered with an error; says which, without the request's content.

    Attributes:
        status: of the last answer; None when there was none.
    """

    status: int | None = None


@dataclass(frozen=True)
class Retention:
    """The user's declaration that an endpoint keeps nothing.

    Attributes:
        provider: who serves the model.
        date: day of the agreement, ISO 8601.
        wording: the retention term, as the provider words it.
    """

    provider: str
    date: str
    wording: str

    def __post_init__(self) -> None:
        """Raise UsageError when one of the three is missing."""
        if not (self.provider.strip() and self.date.strip() and self.wording.strip()):
            raise UsageError("a retention declaration needs provider, date and wording")


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint.

    Attributes:
        base_url: such as `http://127.0.0.1:8000/v1`.
        model: name the endpoint knows the model by.
        retention: declaration for an address outside this machine.
        key_variable: environment variable that holds the API key; the key itself is never stored.
        timeout: seconds for one request.
        retries: further tries after a connection error or one of the statuses of `RETRIED`.
    """

    base_url: str
    model: str
    retention: Retention | None = None
    key_variable: str = "CXR_MAX_API_KEY"
    timeout: float = 300.0
    retries: int = 4

    def __post_init__(self) -> None:
        """Check the address.

        Raises:
            UsageError: not an http(s) address.
            RestrictedDataError: outside this machine without a declaration, or remote without TLS.
        """
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{self.base_url!r} is no address; allowed: http://127.0.0.1:PORT/v1 and the like")
        if is_local(parts.hostname):
            return
        if self.retention is None:
            raise RestrictedDataError(
                f"{parts.hostname} is not this machine, and no retention term is declared (see {POLICY})",
                next="run the model locally, or declare provider=..., date=... and wording=... of the retention term",
            )
        if parts.scheme != "https":
            raise RestrictedDataError(f"{parts.hostname} is not this machine: only https is allowed")

    def chat(self, messages: Sequence[Mapping[str, Any]], **settings: Any) -> dict[str, Any]:
        """Ask once and return the endpoint's JSON answer, trying again with growing pauses.

        Raises:
            EndpointError: no usable answer after all tries.
        """
        body = json.dumps({"model": self.model, "messages": list(messages), **settings}).encode()
        reason, status = "", None
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(min(0.5 * 2 ** (attempt - 1), 30.0))
            try:
                status, answer = self._post(body)
            except EndpointError:
                raise
            except (OSError, http.client.HTTPException) as e:
                reason, status = type(e).__name__, None
                continue
            if status == http.HTTPStatus.OK:
                return _parsed(answer)
            reason = f"status {status}"
            if status not in RETRIED:
                break
        failed = EndpointError(f"the endpoint gave no answer: {reason}", next="look at the endpoint's own log")
        failed.status = status
        raise failed

    def _post(self, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(self.base_url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self.timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        try:
            connection.request("POST", f"{parts.path.rstrip('/')}/chat/completions", body, headers)
            response = connection.getresponse()
            answer = response.read(LIMIT + 1)
            if len(answer) > LIMIT:
                raise EndpointError(f"the endpoint answered with more than {LIMIT} bytes")
            return response.status, answer
        finally:
            connection.close()


def is_local(host: str) -> bool:
    """Whether a host name or address is this machine: loopback only, never a private network."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(answer)
    except ValueError as e:
        raise EndpointError("the endpoint answered with something that is not JSON") from e
    if not isinstance(parsed, dict):
        raise EndpointError("the endpoint answered with JSON that is not an object")
    return parsed
