"""`in_context`: the paper's consensus, t+ ~ pi_st( . | v, l, t^1..t^N): the student reads all trajectories and answers.

The model is a local folder (transformers, batched) or an OpenAI-compatible endpoint such as vLLM. The paper prints
neither the wording around the trajectories nor decoding settings: the wording is `WORDING`, whose hash stands in the
recipe, and the default is the likeliest answer (temperature 0). The order of the trajectories is drawn for each
instance from the seed, so that no teacher is always first; their names are not shown.

Every answer is noted on disk as it comes; the same command again asks only what is missing. What a model writes need
not follow from the trajectories: the table says for each clause which teachers support it, in their own texts.
"""

import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from cxr_max import findings
from cxr_max.align.consensus import _doors
from cxr_max.align.consensus._panels import Consensus, LeftOut, Panel, Work
from cxr_max.align.consensus._support import of_text, positions
from cxr_max.align.generation import Decoding
from cxr_max.errors import UsageError
from cxr_max.journal import Journal
from cxr_max.progress import track

NAME = "in_context"
ASKS = True
WORDING = """{prompt}

Below are {n} answers to this question, written independently of each other. They may contradict each other, and any of them may be wrong.

{answers}

Write one answer to the question. Keep what the image shows and the answers agree on; leave out what they contradict each other on or only one of them claims. Do not mention the answers."""  # noqa: E501
EMPTY = "the answer is empty"
_THOUGHT = re.compile(r".*</think>", re.DOTALL)
_SPECIAL = re.compile(r"<(?=[|/a-zA-Z]{1,40}[^<>\s]{0,40}>)")


@dataclass(frozen=True)
class Hyper:
    """Settings.

    Attributes:
        images: show the image; needs a MIMIC root. False gives the text-only control.
        temperature: 0 takes the likeliest answer.
        top_p: nucleus of the draw.
        max_tokens: longest answer; longer ones are cut there and counted.
        max_characters: longest trajectory that is shown; the rest of a longer one is not.
        batch: questions at a time (for an endpoint: requests); may change an answer's last bits, nothing else.
    """

    images: bool = True
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    max_characters: int = 8000
    batch: int = 8

    def __post_init__(self) -> None:
        Decoding(self.max_tokens, self.temperature, self.top_p)
        if self.max_characters < 1 or self.batch < 1:
            raise UsageError(f"max_characters {self.max_characters}, batch {self.batch}; allowed: 1 and above")


def images(hyper: Hyper) -> bool:
    """Whether it looks at images."""
    return hyper.images


def describe(hyper: Hyper, work: Work) -> Mapping[str, Any]:
    """The model and the wording, for the recipe.

    Raises:
        UsageError: no model is named, or nothing is where it should be.
        RestrictedDataError: an endpoint outside this machine without a declaration.
    """
    wording = hashlib.sha256(WORDING.encode()).hexdigest()[:12]
    return {"model": _doors.identity(work), "wording": wording}


def question(panel: Panel, hyper: Hyper, seed: int) -> str:
    """What the model is asked: the release's prompt and all trajectories, in an order of the instance's own."""
    answers = list(panel.answers)
    random.Random(_seed(seed, panel.instance_id)).shuffle(answers)
    shown = [f"[Answer {i}]\n{_shown(a.text, hyper.max_characters)}" for i, a in enumerate(answers, 1)]
    return WORDING.format(prompt=_SPECIAL.sub("< ", panel.prompt), n=len(shown), answers="\n\n".join(shown))


def _seed(seed: int, instance: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {instance}".encode()).digest()[:6], "big")


def _shown(text: str, longest: int) -> str:
    """A trajectory without anything a tokenizer could take for a special token, and not longer than it may be."""
    if len(text) > longest:
        text = text[:longest].rpartition(" ")[0] or text[:longest]
    return _SPECIAL.sub("< ", text).strip()


def write(panels: Iterable[Panel], hyper: Hyper, work: Work) -> Iterator[Consensus | LeftOut]:
    """A consensus per panel, in the order they came."""
    recipe = {**describe(hyper, work), **asdict(hyper), "seed": work.seed}
    del recipe["batch"]
    stream = iter(track(panels, "asking for consensus", total=work.total))
    with Journal(work.folder / "answers.jsonl") as journal, _doors.opened(hyper.batch, _decoding(hyper), work) as door:
        while batch := list(islice(stream, hyper.batch * door.batches)):
            yield from _answered(batch, hyper, work.seed, (recipe, journal, door))


def _decoding(hyper: Hyper) -> Decoding:
    return Decoding(hyper.max_tokens, hyper.temperature, hyper.top_p)


def _answered(
    panels: Sequence[Panel], hyper: Hyper, seed: int, means: tuple[Mapping[str, Any], Journal, _doors.Door]
) -> Iterator[Consensus | LeftOut]:
    recipe, journal, door = means
    texts = [question(p, hyper, seed) for p in panels]
    keys = [_key(recipe, p, text) for p, text in zip(panels, texts, strict=True)]
    failed: dict[str, str] = {}
    if any(k not in journal.known for k in keys):
        # A batch is asked whole, also what is known of it: a row's last bits depend on its neighbours.
        again = [i for i, k in enumerate(keys) if door.whole_batches or k not in journal.known]
        asked = [_doors.Question(panels[i], texts[i], _seed(seed, panels[i].instance_id)) for i in again]
        for place, reply in door.ask(asked):
            i = again[place]
            if isinstance(reply, _doors.Failed):
                failed[keys[i]] = reply.reason
            elif keys[i] not in journal.known:
                journal.add(keys[i], {"text": reply.text, "cut": reply.cut})
    for panel, key in zip(panels, keys, strict=True):
        if key in journal.known:
            yield _consensus(panel, str(journal.known[key]["text"]), bool(journal.known[key]["cut"]))
        else:
            yield LeftOut(panel.instance_id, failed[key], failed=True)


def _key(recipe: Mapping[str, Any], panel: Panel, text: str) -> str:
    # The name of an image is its DICOM id; its folder may move between two runs.
    shown = [image.rpartition("/")[2] for image in panel.images]
    parts = json.dumps([recipe, panel.instance_id, text, shown], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def _consensus(panel: Panel, text: str, cut: bool) -> Consensus | LeftOut:
    text = _THOUGHT.sub("", text).strip()
    if not text:
        return LeftOut(panel.instance_id, EMPTY)
    held = positions(panel, [findings.extract(a.text).findings for a in panel.answers], "side")
    return Consensus(panel.instance_id, text, of_text(text, held, "side"), cut)
