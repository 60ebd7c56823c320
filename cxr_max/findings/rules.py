"""The rule extractor: text in, findings out; offline and deterministic."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from itertools import islice
from multiprocessing import get_context

from cxr_max.errors import UnknownNameError, UsageError
from cxr_max.findings import words
from cxr_max.findings.lexicon import load
from cxr_max.findings.model import Extraction, Finding, Role, Side
from cxr_max.findings.place import named, related, sides, zone
from cxr_max.findings.scope import Mention, mentions
from cxr_max.findings.steps import Sentence, group, sentences
from cxr_max.findings.words import Event

ROLES: tuple[str, ...] = ("candidate", "reference")
CHUNK = 256
"""Texts a worker is handed at once."""


def extract(text: str, *, role: Role = "candidate") -> Extraction:
    """What a text asserts about the image.

    Args:
        text: a teacher's answer or a report, plain or Markdown.
        role: `candidate` texts can be refusals; a `reference` never is.

    Returns:
        Findings in text order; `refusal` is true when a candidate asserts nothing about the image at all.

    Raises:
        UnknownNameError: the role is neither candidate nor reference.
    """
    if role not in ROLES:
        raise UnknownNameError.of("role", role, ROLES)
    parts = list(sentences(text))
    found: list[Finding] = []
    asserts = False
    for part in parts:
        made = list(_of_sentence(text, part))
        found.extend(made)
        asserts = asserts or bool(made) or (not part.generic and "image" in part.kinds)
    found.sort(key=lambda f: (f.start, f.end, f.concept, f.side or ""))
    return Extraction(tuple(found), role == "candidate" and not asserts, group(text, parts))


def _of_sentence(text: str, part: Sentence) -> Iterator[Finding]:
    lexicon = load()
    if part.generic:
        return
    if not part.lead and lexicon.hot.isdisjoint(part.words):
        return
    found = words.events(part.words)
    heading = _heading_events(part.section) if part.section else ()
    shift = 0
    names = any(e.kind in ("finding", "subject") for e in found)
    if part.lead and heading and not names:
        # "Pneumothorax: none." - the heading is the subject; the finding's words are those after it.
        shift = heading[-1].last + 1
        found = [*heading, *(Event(e.kind, e.value, e.first + shift, e.last + shift) for e in found)]
        if not any(e.kind in ("normal", "state", "neg", "neg_after", "unc", "unc_after", "verb") for e in found):
            return
    elif not names:
        return
    spans = words.spans(text, part.start, part.end)
    for mention in mentions(found):
        explains = "generic" in part.kinds and _generic_clause(part.words, mention, shift)
        if mention.status is not None and not explains:
            yield from _findings(spans, mention, shift, heading)


@lru_cache(maxsize=4096)
def _heading_events(heading: str) -> tuple[Event, ...]:
    return tuple(words.events(words.tokens(heading, 0, 200)))


def _generic_clause(sentence: Sequence[str], mention: Mention, shift: int) -> bool:
    """Whether the mention stands in a clause that only explains: "..., which typically indicates effusion"."""
    first, last = mention.clause[0].first - shift, mention.clause[-1].last - shift + 1
    kinds = words.generic_kinds(sentence[max(0, first - 3) : last])
    return "generic" in kinds and "image" not in kinds


def _findings(
    spans: list[tuple[int, int]], mention: Mention, shift: int, heading: Sequence[Event]
) -> Iterator[Finding]:
    lexicon = load()
    concept = lexicon.concepts[mention.concept]
    first = max(mention.first - shift, 0)
    last = mention.last - shift if mention.last >= shift else len(spans) - 1
    start, end = spans[first][0], spans[last][1]
    on: tuple[Side | None, ...] = ()
    if mention.concept not in lexicon.unsided:
        on = sides(mention) or _heading_sides(mention, heading)
    where = zone(mention)
    for side in on or (None,):
        yield Finding(concept.id, concept.label, mention.status, side, where, start, end, mention.rule)  # type: ignore[arg-type]


def _heading_sides(mention: Mention, heading: Sequence[Event]) -> tuple[Side, ...]:
    """The sides a heading gives what is affirmed below it: all of it, or only what it names ("Left effusion:")."""
    about = {e.value for e in heading if e.kind == "finding"}
    if mention.status == "absent" or (about and mention.concept not in about and not related(mention.concept, about)):
        return ()
    return named([e.value for e in heading if e.kind == "side"])


def extract_many(
    texts: Iterable[str],
    *,
    role: Role = "candidate",
    jobs: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Extraction]:
    """`extract` over many texts, streamed in order.

    Args:
        texts: read as they are needed, a few thousand ahead at most.
        role: as in `extract`.
        jobs: worker processes; 1 works in this one.
        progress: called with the number of texts done since the last call.

    Raises:
        UsageError: jobs below 1.
    """
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}; allowed: 1 or more")
    if jobs == 1:
        for text in texts:
            yield extract(text, role=role)
            if progress:
                progress(1)
        return
    yield from _in_pool(iter(texts), role, jobs, progress)


def _in_pool(
    texts: Iterator[str], role: Role, jobs: int, progress: Callable[[int], object] | None
) -> Iterator[Extraction]:
    work = partial(_extract_chunk, role=role)
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        waiting = [pool.submit(work, chunk) for chunk in islice(_chunks(texts), 3 * jobs)]
        while waiting:
            done = waiting.pop(0).result()
            for chunk in islice(_chunks(texts), 1):
                waiting.append(pool.submit(work, chunk))
            yield from done
            if progress:
                progress(len(done))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chunks(texts: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(texts, CHUNK)):
        yield chunk


def _extract_chunk(texts: list[str], *, role: Role) -> list[Extraction]:
    return [extract(text, role=role) for text in texts]
