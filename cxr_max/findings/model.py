"""What a text says, as data: findings, steps, extractions, and the concepts they name."""

from typing import Literal, NamedTuple

from cxr_max.schema import SIDES, STATUSES

Status = Literal["present", "uncertain", "absent"]
Side = Literal["left", "right"]
Zone = Literal["apical", "upper", "mid", "lower", "perihilar", "retrocardiac"]
Role = Literal["candidate", "reference"]

ZONES: tuple[str, ...] = ("apical", "upper", "mid", "lower", "perihilar", "retrocardiac")

__all__ = ["SIDES", "STATUSES", "ZONES", "Concept", "Extraction", "Finding", "Role", "Side", "Status", "Step", "Zone"]


class Finding(NamedTuple):
    """One assertion about the image; "bilateral" makes two, one per side.

    Attributes:
        concept: id from the lexicon.
        label: one of the 14 labels, or None.
        status: present, uncertain or absent.
        side: the patient's left or right, or None when the text gives none.
        zone: part of the lung, or None.
        start, end: characters of the words that name it, `text[start:end]`.
        rule: how it was found, then what set its status: `phrase`, `state/neg:no`, `normal:clear`.
    """

    concept: str
    label: str | None
    status: Status
    side: Side | None
    zone: Zone | None
    start: int
    end: int
    rule: str


class Step(NamedTuple):
    """One reasoning step: a sentence or list item.

    Attributes:
        text: the words, `source[start:end]`.
        section: nearest heading above, without its markup, or None.
        start, end: characters in the source; steps are in order and do not overlap.
        generic: a definition, disclaimer or advice: nothing about this image.
    """

    text: str
    section: str | None
    start: int
    end: int
    generic: bool


class Extraction(NamedTuple):
    """All findings of one text in text order, its steps, and whether it asserts nothing about the image."""

    findings: tuple[Finding, ...]
    refusal: bool
    steps: tuple[Step, ...]


class Concept(NamedTuple):
    """One entry of the lexicon.

    Attributes:
        id: stable name.
        label: one of the 14 labels, or None.
        parent: the broader concept that holds whenever this one does, or None.
        doc: meaning.
        blocks: its presence or uncertainty unsets No Finding.
        phrases: how it may be named, before expansion.
        sources: where the phrases come from.
    """

    id: str
    label: str | None
    parent: str | None
    doc: str
    blocks: bool
    phrases: tuple[str, ...]
    sources: tuple[str, ...]
