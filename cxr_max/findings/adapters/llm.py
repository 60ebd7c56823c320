"""A language model behind a local OpenAI-compatible endpoint, in the manner of RadFact: it lists single findings, and
judges whether findings entail one another.

Only addresses of this machine are taken: reports and trajectories must not reach a third party.
"""

import http.client
import ipaddress
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

from cxr_max.errors import DataError, RestrictedDataError, UsageError
from cxr_max.findings.adapters._labels import digest, extraction
from cxr_max.findings.entail import Verdict
from cxr_max.findings.lexicon import concepts
from cxr_max.findings.model import SIDES, STATUSES, ZONES, Extraction, Finding, Role

LIMIT = 4 * 2**20
"""Largest answer that is read, bytes."""

LIST_PROMPT = (
    "List every finding that the text asserts about this chest radiograph, one per item. Leave out definitions, advice "
    "and general remarks. Answer with JSON only: "
    '{{"findings": [{{"quote": words of the text, "concept": one of the concepts, "status": "present", "uncertain" or '
    '"absent", "side": "left", "right" or null, "zone": one of the zones or null}}]}}. A bilateral finding is two '
    "items. Concepts: {concepts}. Zones: {zones}."
)
JUDGE_PROMPT = (
    "Given the premises, is the hypothesis about the same chest radiograph entailed, contradicted or neither? Answer "
    'with JSON only: {"verdict": "entail", "contradict" or "neutral"}.'
)


class Endpoint:
    """An OpenAI-compatible server on this machine.

    Args:
        base_url: such as http://127.0.0.1:8000/v1.
        model: name the server knows.
        timeout: seconds for one answer.

    Raises:
        UsageError: not an http address.
        RestrictedDataError: the address is not of this machine.
    """

    def __init__(self, base_url: str, model: str, *, timeout: float = 120.0) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(f"base_url is {base_url!r}; allowed: http://127.0.0.1:PORT/v1")
        self.host, self.port = _loopback(parts.hostname), parts.port or 80
        self.path = parts.path.rstrip("/") + "/chat/completions"
        self.model, self.timeout = model, timeout

    def ask(self, system: str, user: str) -> Mapping[str, Any]:
        """The JSON object the model answers with.

        Raises:
            DataError: no answer, an error, or one that is no JSON object; never with the text in the message.
        """
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        body = {"model": self.model, "messages": messages, "temperature": 0, "seed": 0}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            # Neither proxies nor redirects: the request goes to this address or nowhere.
            connection.request("POST", self.path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            raw = response.read(LIMIT + 1)
        except (OSError, http.client.HTTPException) as e:
            raise DataError(f"the endpoint gave no answer: {type(e).__name__}") from None
        finally:
            connection.close()
        if response.status != 200 or len(raw) > LIMIT:
            raise DataError(f"the endpoint answered with status {response.status}, {len(raw)} bytes")
        try:
            return _json_object(json.loads(raw)["choices"][0]["message"]["content"])
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise DataError("the endpoint's answer holds no JSON object") from None


def _loopback(host: str) -> str:
    """The address of a host of this machine."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)} if host == "localhost" else {host}
        local = [a for a in sorted(found) if ipaddress.ip_address(a).is_loopback]
    except (ValueError, OSError):
        local = []
    if not local:
        raise RestrictedDataError(
            f"{host!r} is not an address of this machine; reports and trajectories may not be sent to a third party",
            next="serve the model locally and pass http://127.0.0.1:PORT/v1",
        )
    return local[0]


def _json_object(content: str) -> Mapping[str, Any]:
    found = json.loads(content[content.index("{") : content.rindex("}") + 1])
    if not isinstance(found, dict):
        raise TypeError
    return found


class Llm:
    """Findings as a model lists them; items outside the allowed names are refused, not repaired.

    Attributes:
        version: the model's name.
        config_hash: of model and prompts.
    """

    name = "llm"

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self.version = endpoint, endpoint.model
        self.prompt = LIST_PROMPT.format(concepts=", ".join(concepts()), zones=", ".join(ZONES))
        self.config_hash = digest(endpoint.model, self.prompt, JUDGE_PROMPT)

    def extract(self, text: str, *, role: Role = "candidate") -> Extraction:
        """Findings of a text, with the words quoted for each.

        Raises:
            DataError: no valid answer.
        """
        answer = self.endpoint.ask(self.prompt, text).get("findings")
        if not isinstance(answer, list):
            raise DataError("the endpoint's answer has no list of findings")
        return extraction(text, [self._finding(text, item) for item in answer], role)

    def _finding(self, text: str, item: object) -> Finding:
        row = item if isinstance(item, dict) else {}
        concept = concepts().get(str(row.get("concept")))
        status, side, zone, quote = (row.get(k) for k in ("status", "side", "zone", "quote"))
        valid = concept and status in STATUSES and side in (None, *SIDES) and zone in (None, *ZONES)
        if not valid or not isinstance(quote, str) or concept is None:
            raise DataError("the endpoint named a concept, status, side or zone that does not exist, or quoted nothing")
        start = text.find(quote) if quote else -1
        first, end = (start, start + len(quote)) if start >= 0 else (0, len(text))
        return Finding(concept.id, concept.label, status, side, zone, first, end, f"llm/{self.version}")  # type: ignore[arg-type]

    def verdict(self, premises: Sequence[Finding], hypothesis: Finding) -> Verdict:
        """Whether the premises entail, contradict or leave open the hypothesis, as the model judges.

        Raises:
            DataError: no valid answer.
        """
        said = "\n".join(f"- {_phrase(p)}" for p in premises) or "- nothing"
        answer = self.endpoint.ask(JUDGE_PROMPT, f"Premises:\n{said}\nHypothesis: {_phrase(hypothesis)}").get("verdict")
        for known in get_args(Verdict):
            if answer == known:
                return known  # type: ignore[no-any-return]
        raise DataError("the endpoint's verdict is none of entail, contradict, neutral")


def _phrase(finding: Finding) -> str:
    parts = (finding.status, finding.side, finding.zone, finding.concept.replace("_", " "))
    return " ".join(part for part in parts if part)


def build(base_url: str, model: str, *, timeout: float = 120.0) -> Llm:
    """An extractor and entailer on a local endpoint; see `Endpoint` for what is refused."""
    return Llm(Endpoint(base_url, model, timeout=timeout))
