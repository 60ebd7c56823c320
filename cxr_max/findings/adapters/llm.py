"""A language model behind a local OpenAI-compatible endpoint, in the manner of RadFact: it lists single findings, and
judges whether findings entail one another.

Addresses outside this machine are refused unless a retention term is declared, as `cxr_max.endpoint` says.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from cxr_max.endpoint import Endpoint, Retention
from cxr_max.errors import DataError
from cxr_max.findings.adapters._labels import digest, extraction
from cxr_max.findings.lexicon import concepts
from cxr_max.findings.model import SIDES, STATUSES, ZONES, Extraction, Finding, Role

Verdict = Literal["entail", "contradict", "neutral"]
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


def ask(endpoint: Endpoint, system: str, user: str) -> Mapping[str, Any]:
    """The JSON object the model answers with, greedily and from a fixed seed.

    Raises:
        EndpointError: no answer.
        DataError: an answer that holds no JSON object; never with the text in the message.
    """
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    answer = endpoint.chat(messages, temperature=0, seed=0)
    try:
        content = answer["choices"][0]["message"]["content"]
        found = json.loads(content[content.index("{") : content.rindex("}") + 1])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError("the endpoint's answer holds no JSON object")
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
            EndpointError: no answer.
            DataError: no valid answer.
        """
        answer = ask(self.endpoint, self.prompt, text).get("findings")
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
            EndpointError: no answer.
            DataError: no valid answer.
        """
        said = "\n".join(f"- {_phrase(p)}" for p in premises) or "- nothing"
        question = f"Premises:\n{said}\nHypothesis: {_phrase(hypothesis)}"
        answer = ask(self.endpoint, JUDGE_PROMPT, question).get("verdict")
        for known in get_args(Verdict):
            if answer == known:
                return known  # type: ignore[no-any-return]
        raise DataError("the endpoint's verdict is none of entail, contradict, neutral")


def _phrase(finding: Finding) -> str:
    parts = (finding.status, finding.side, finding.zone, finding.concept.replace("_", " "))
    return " ".join(part for part in parts if part)


def build(base_url: str, model: str, *, timeout: float = 120.0, retention: Retention | None = None) -> Llm:
    """An extractor and entailer on an OpenAI-compatible endpoint.

    Args:
        base_url: such as http://127.0.0.1:8000/v1.
        model: name the server knows.
        timeout: seconds for one answer.
        retention: the declaration without which an address outside this machine is refused.

    Raises:
        UsageError: no http(s) address.
        RestrictedDataError: outside this machine without a declaration.
    """
    return Llm(Endpoint(base_url, model, retention, timeout=timeout))
