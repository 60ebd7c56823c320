"""Who disagrees with each statement of a text, for the trend along the text.

A statement is a concept asserted in a step with one polarity; said again in another step it is another statement. (To
keep only the first would make a trend of nothing: what is said more often, because all agree on it, is said earlier for
the first time.) Under a summary heading nothing counts. The other teachers agree with an affirmation (present or
uncertain) when they affirm the concept anywhere in their text on the same image, and disagree with a denial (absent)
when they do.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift import states
from cxr_max.drift.encoded import ABSENT, NO_FINDING, SUMMARY_TOPIC, Booleans, Encoded
from cxr_max.drift.stats._common import divide
from cxr_max.drift.stats.disagreement_trend import Claims

Ints = NDArray[np.int64]
NAMED, SIGN, OTHER = range(3)
"""Roles of a concept in the prompt: its label is named, it supports one that is, neither."""


class Texts(NamedTuple):
    """Texts that speak: `instance` and `teacher` of each; and of each instance `patient`, `study`, `prompt` codes."""

    instance: Ints
    teacher: Ints
    patient: Ints
    study: Ints
    prompt: Ints


class Statements(NamedTuple):
    """Assertions: `text`, `step`, `concept`, `denied`, `role`; `counted` when it is compared, not only said."""

    text: Ints
    step: Ints
    concept: Ints
    denied: Booleans
    role: Ints
    counted: Booleans


def of_encoded(encoded: Encoded, *, generation: int = 0) -> Claims:
    """The claims of one generation; refusals do not speak, "no finding" is not a finding."""
    found = encoded.findings
    keep = (encoded.generation_T == generation) & ~encoded.refusal_T
    new = np.cumsum(keep) - 1
    label = np.asarray(encoded.vocabulary.label_K, dtype=np.int64)[found.concept]
    wanted = keep[found.row] & (found.step >= 0) & (label != NO_FINDING)
    row, concept, label = found.row[wanted], found.concept[wanted].astype(np.int64), label[wanted]
    instance, step = encoded.instance_T[row], found.step[wanted].astype(np.int64)
    width = states.width_of(encoded)
    section = states.places(encoded, row * width + step, width)[1]
    named = encoded.prompted_IK[instance, concept] | ((label >= 0) & encoded.prompted_IL[instance, label])
    signs = (encoded.prompted_IL.astype(np.float32) @ states.sign_table(encoded.vocabulary.concepts)) > 0
    role = np.where(named, NAMED, np.where(signs[instance, concept], SIGN, OTHER))
    said = Statements(new[row], step, concept, found.status[wanted] == ABSENT, role, section != SUMMARY_TOPIC)
    patient, study, prompt = (
        np.unique(a, return_inverse=True)[1]
        for a in (encoded.patient_I, encoded.study_I, encoded.diseases_I.astype(str))
    )
    texts = Texts(encoded.instance_T[keep], encoded.teacher_T[keep], patient, study, prompt)
    return build(said, texts)


def build(said: Statements, texts: Texts) -> Claims:
    """Statements with who disagrees with them; every study weighs the same for a teacher.

    Statements on images on which no other teacher speaks are left out.
    """
    n_i, n_u = len(texts.patient), int(texts.teacher.max(initial=0)) + 1
    n_k = int(said.concept.max(initial=0)) + 1
    affirmed = np.zeros((n_i, n_u, n_k), dtype=bool)
    of = said.text[~said.denied]
    affirmed[texts.instance[of], texts.teacher[of], said.concept[~said.denied]] = True
    speaking = np.bincount(texts.instance, minlength=n_i)
    once = _once(said, n_k)
    text, concept, denied = said.text[once], said.concept[once], said.denied[once]
    instance, teacher = texts.instance[text], texts.teacher[text]
    others = speaking[instance] - 1
    own = affirmed[instance, teacher, concept]
    share = divide(affirmed.sum(axis=1)[instance, concept] - own.astype(np.int64), others)
    known = others > 0
    once, text, concept, denied = once[known], text[known], concept[known], denied[known].astype(np.int64)
    instance, teacher, share = instance[known], teacher[known], share[known]
    kind = ((texts.prompt[instance] * n_u + teacher) * n_k + concept) * 2 + denied
    per_text = np.bincount(text, minlength=len(texts.instance))
    group = texts.study[texts.instance] * n_u + texts.teacher
    siblings = np.bincount(group[per_text > 0], minlength=int(group.max(initial=-1)) + 1)
    typical = float(per_text[per_text > 0].mean()) if len(text) else 0.0
    weight = typical / (per_text[text] * siblings[group[text]])
    return Claims(
        texts.patient[instance], (text * 3 + said.role[once]) * 2 + denied, kind, said.step[once],
        np.where(denied == 1, share, 1.0 - share), weight,
    )  # fmt: skip


def _once(said: Statements, n_concepts: int) -> Ints:
    """Positions of the counted statements, each concept once in a step and polarity (a bilateral finding is one)."""
    counted = np.flatnonzero(said.counted)
    width = int(said.step.max(initial=0)) + 1
    key = (said.text[counted] * width + said.step[counted]) * n_concepts + said.concept[counted]
    _, first = np.unique(key * 2 + said.denied[counted], return_index=True)
    return np.asarray(counted[first], dtype=np.int64)
