"""Per teacher: finding precision and recall with every baseline beside them, similarity, flips, hedging, length.

The paper's Figure 1a, with what it needs to be read: echo, beyond the prompt, matched shuffle, grounding, ceiling.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_max.drift import flips
from cxr_max.drift.bits import Sets, count, pack, unpack
from cxr_max.drift.config import LEVELS, MODES, POLICIES, SECTIONS, Config
from cxr_max.drift.encoded import Encoded, Findings
from cxr_max.drift.extra import Rows
from cxr_max.drift.layout import Layout, build, concept_mask, layout_of, prompt_cells
from cxr_max.drift.ratios import Derived, Ratio, Units, estimate, macro, micro, units_of
from cxr_max.drift.states import sign_table
from cxr_max.drift.stats import beyond_prompt, echo, finding_alignment, grounding, matched_shuffle
from cxr_max.drift.stats._common import divide
from cxr_max.drift.stats.finding_alignment import Overlap, harmonic
from cxr_max.schema import FINDINGS

Booleans = NDArray[np.bool_]
SECTION_COLUMNS = {"both": (0, 1), "findings": (0,), "impression": (1,)}


class Scored(NamedTuple):
    """Sets of one configuration: `candidate` per trajectory, `reference` per instance, and `has_I` a reference."""

    layout: Layout
    candidate: Sets
    reference: Sets
    has_I: Booleans


def reference_of(encoded: Encoded, section: str) -> Findings:
    """Findings of the chosen sections of the reports."""
    parts = [encoded.reference[s] for s in SECTION_COLUMNS[section]]
    columns: list[Any] = [np.concatenate(c) for c in zip(*parts, strict=True)]
    return Findings(*columns)


def score(encoded: Encoded, config: Config, **changed: str) -> Scored:
    """Sets under the configuration, with section, level, unc or mode changed."""
    options = {k: changed.get(k, getattr(config, k)) for k in ("level", "unc", "mode")}
    section = changed.get("section", config.section)
    layout = layout_of(encoded.vocabulary, **options, hierarchy=config.hierarchy)
    reference = build(reference_of(encoded, section), encoded.n_instances, layout)
    has = np.asarray(encoded.sections_I2[:, SECTION_COLUMNS[section]].any(axis=1))
    return Scored(layout, build(encoded.findings, encoded.n_trajectories, layout), reference, has)


def own_reference(scored: Scored, encoded: Encoded) -> Sets:
    """The reference of each trajectory's own instance, row by row."""
    return Sets(scored.reference.own[encoded.instance_T], scored.reference.entailed[encoded.instance_T])


def units(encoded: Encoded) -> Units:
    """Patients, studies and teachers of the trajectories."""
    n = len(encoded.vocabulary.teachers)
    return units_of(encoded.patient_I, encoded.study_I, encoded.instance_T, encoded.teacher_T, n)


def overlap_ratios(u: Units, overlap: Overlap, has_T: Booleans, suffix: str = "", **name: Any) -> list[Ratio]:
    """Macro precision and recall, micro precision and recall; undefined without a reference."""
    p, r = (np.where(has_T, v, np.nan) for v in (overlap.precision, overlap.recall))
    return [
        macro(u, p, metric=f"precision{suffix}", **name),
        macro(u, r, metric=f"recall{suffix}", **name),
        micro(u, overlap.entailed_c, overlap.n_c, has_T, metric=f"precision{suffix}", **name),
        micro(u, overlap.entailed_r, overlap.n_r, has_T, metric=f"recall{suffix}", **name),
    ]


def f1_of(ratios: list[Ratio], start: int, suffix: str = "") -> list[Derived]:
    """F1 from mean precision and mean recall, macro and micro, of four ratios of `overlap_ratios`."""
    name = {k: v for k, v in ratios[start].name.items() if k not in ("metric", "averaging")}
    return [
        Derived({"averaging": a, "metric": f"f1{suffix}", **name}, (start + i, start + i + 1), harmonic)
        for a, i in (("macro", 0), ("micro", 2))
    ]


def tags(config: Config, **changed: Any) -> dict[str, Any]:
    """Column values that say what a figure was computed with."""
    base = {"finding": "all", "section": config.section, "level": config.level, "unc": config.unc, "mode": config.mode}
    return {**base, **changed}


def headline_ratios(encoded: Encoded, config: Config, scored: Scored, u: Units) -> tuple[list[Ratio], list[Derived]]:
    """Precision, recall, F1, similarity, baselines and rates under the headline configuration."""
    name = tags(config)
    has_T = scored.has_I[encoded.instance_T]
    overlap = finding_alignment.compute(scored.candidate, own_reference(scored, encoded))
    ratios = overlap_ratios(u, overlap, has_T, **name)
    derived = f1_of(ratios, 0)
    per_row = harmonic(overlap.precision, overlap.recall)
    ratios.append(macro(u, np.where(has_T, per_row, np.nan), metric="f1_mean", **name))
    for similarity, values in encoded.similarity_T.items():
        ratios.append(macro(u, values, metric=similarity, **name))
        if similarity == "similarity_tfidf":
            paper = Derived(
                {"averaging": "macro", "metric": "average (as in the paper)", **name},
                (0, 1, len(ratios) - 1),
                lambda p, r, s: (p + r + s) / 3,
            )
            derived.append(paper)
    shared = count(scored.candidate.own & scored.reference.own[encoded.instance_T])
    dice = np.where(has_T, divide(2 * shared, overlap.n_c + overlap.n_r), np.nan)
    ratios.append(macro(u, dice, metric="similarity_findings", **name))
    prompted = concept_mask(scored.layout, _prompted_family(encoded))[encoded.instance_T]
    beyond = beyond_prompt.compute(scored.candidate, own_reference(scored, encoded), prompted)
    start = len(ratios)
    ratios += overlap_ratios(u, beyond, has_T, "_beyond_prompt", **name)
    derived += f1_of(ratios, start, "_beyond_prompt")
    repeated = echo.compute(prompt_cells(scored.layout, encoded.prompted_IK), scored.reference)
    ratios += overlap_ratios(u, Overlap(*(part[encoded.instance_T] for part in repeated)), has_T, "_echo", **name)
    ratios += split_ratios(encoded, scored, u, has_T, name) + rate_ratios(encoded, config, u, has_T, name)
    return ratios, derived


def _prompted_family(encoded: Encoded) -> Booleans:
    """Concepts of the prompted labels, and prompted concepts without a label."""
    label = np.array(encoded.vocabulary.label_K)
    padded = np.column_stack([encoded.prompted_IL, np.zeros(encoded.n_instances, dtype=bool)])
    return padded[:, label] | encoded.prompted_IK


def split_ratios(encoded: Encoded, scored: Scored, u: Units, has_T: Booleans, name: dict[str, Any]) -> list[Ratio]:
    """Precision and recall of prompted concepts, of signs that support them, and of the rest (micro)."""
    prompted = _prompted_family(encoded)
    supporting = (encoded.prompted_IL.astype(np.float32) @ sign_table(encoded.vocabulary.concepts)) > 0
    kinds = {"in_prompt": prompted, "supporting_sign": supporting & ~prompted, "other": ~supporting & ~prompted}
    own = own_reference(scored, encoded)
    ratios = []
    for kind, concepts in kinds.items():
        mask = pack(concept_mask(scored.layout, concepts))[encoded.instance_T]
        overlap = finding_alignment.compute(scored.candidate, own, mask=mask)
        ratios += overlap_ratios(u, overlap, has_T, f"_{kind}", **name)[2:]
    return ratios


def rate_ratios(encoded: Encoded, config: Config, u: Units, has_T: Booleans, name: dict[str, Any]) -> list[Ratio]:
    """Refusals, contradictions, flips, inventions, hedging, lengths; rates are per asserted concept (micro)."""
    every = np.ones(encoded.n_trajectories, dtype=bool)
    out = [
        macro(u, encoded.refusal_T.astype(float), metric="refusal_rate", **name),
        macro(u, encoded.words_T.astype(float), metric="n_words", **name),
        macro(u, encoded.steps_T.astype(float), metric="n_steps", **name),
    ]
    counts = flips.compute(encoded, reference_of(encoded, config.section), config.unc)
    out.append(micro(u, counts.uncertain_findings, counts.affirmed_findings, every, metric="hedging_rate", **name))
    out.append(macro(u, counts.affirmed_findings.astype(float), metric="n_findings", **name))
    if not encoded.has_reference_I.any():
        return out
    for metric, top, bottom in (
        ("contradiction_rate", counts.contradicted, counts.asserted),
        ("negation_flip_rate", counts.negation, counts.asserted),
        ("laterality_flip_rate", counts.laterality, counts.asserted),
        ("invented_finding_rate", counts.invented, counts.affirmed),
        ("invented_device_rate", counts.invented_devices, counts.devices),
    ):
        out.append(micro(u, np.where(has_T, top, 0), np.where(has_T, bottom, 0), has_T, metric=metric, **name))
    out.append(macro(u, np.where(has_T, counts.contradicted, np.nan), metric="n_contradictions", **name))
    return out


def shuffle_ratios(encoded: Encoded, config: Config, scored: Scored, u: Units) -> tuple[list[Ratio], dict[str, Any]]:
    """Precision and recall against another patient's report, and what lies above it (the headline)."""
    name = tags(config)
    keep = scored.has_I
    instances = np.flatnonzero(keep)
    where = np.cumsum(keep) - 1
    rows = np.flatnonzero(keep[encoded.instance_T])
    reference = Sets(scored.reference.own[instances], scored.reference.entailed[instances])
    candidate = Sets(scored.candidate.own[rows], scored.candidate.entailed[rows])
    diseases = np.unique(encoded.diseases_I[instances].astype(str), return_inverse=True)[1]
    views = np.unique(encoded.view_I[instances].astype(str), return_inverse=True)[1]
    result = matched_shuffle.compute(
        candidate, reference, where[encoded.instance_T[rows]], diseases * (views.max(initial=0) + 1) + views,
        diseases, encoded.patient_I[instances], plan=(config.shuffles, config.seed),
    )  # fmt: skip
    own = finding_alignment.compute(
        scored.candidate, Sets(scored.reference.own[encoded.instance_T], scored.reference.entailed[encoded.instance_T])
    )
    ratios = []
    for metric, shuffled, mine in (
        ("precision", result.precision, own.precision),
        ("recall", result.recall, own.recall),
    ):
        base = np.full(encoded.n_trajectories, np.nan)
        base[rows] = shuffled
        ratios.append(macro(u, base, metric=f"{metric}_matched_shuffle", **name))
        ratios.append(macro(u, mine - base, metric=f"{metric}_above_shuffle", **name))
    matched = np.zeros(encoded.n_trajectories, dtype=bool)
    matched[rows] = result.matched
    paired = np.unique(encoded.instance_T[matched])
    facts: dict[str, Any] = {
        "draws": config.shuffles,
        "matched_instances": len(paired),
        "unmatched_instances": len(instances) - len(paired),
    }
    for metric, means in (("precision", result.draws_precision), ("recall", result.draws_recall)):
        known = means[~np.isnan(means)]
        ends = np.quantile(known, [0.025, 0.975]) if len(known) else np.full(2, np.nan)
        facts[f"{metric}_draws_mean"] = float(known.mean()) if len(known) else float("nan")
        facts[f"{metric}_draws_low"], facts[f"{metric}_draws_high"] = float(ends[0]), float(ends[1])
    return ratios, facts


def grounding_ratios(encoded: Encoded, config: Config, u: Units) -> list[Ratio]:
    """Side accuracy on prompted concepts, how often a side was given, and what the side prior alone would reach."""
    side = score(encoded, config, level="side", unc="pos", mode="present")
    shape = (-1, side.layout.n_concepts, 3)
    candidate = unpack(side.candidate.own, side.layout.n_cells).reshape(shape)[..., 1:]
    report = unpack(side.reference.own, side.layout.n_cells).reshape(shape)[..., 1:]
    prompted = _prompted_family(encoded)
    result = grounding.compute(candidate, report[encoded.instance_T], prompted[encoded.instance_T])
    prior = np.nan_to_num(grounding.side_prior(report), nan=0.5)
    counts = [part.sum(axis=1) for part in (result.correct, result.answered, result.eligible)]
    has_T = side.has_I[encoded.instance_T]
    name = tags(config, level="side")
    return [
        micro(u, counts[0], counts[1], has_T, metric="grounding_accuracy", **name),
        micro(u, result.answered @ prior, counts[1], has_T, metric="grounding_side_prior", **name),
        micro(u, counts[1], counts[2], has_T, metric="grounding_answered", **name),
    ]


def finding_ratios(encoded: Encoded, config: Config, scored: Scored, u: Units) -> tuple[list[Ratio], list[Derived]]:
    """Precision, recall and F1 per label."""
    has_T = scored.has_I[encoded.instance_T]
    own = own_reference(scored, encoded)
    label = np.array(encoded.vocabulary.label_K)
    ratios: list[Ratio] = []
    derived: list[Derived] = []
    for position, finding in enumerate(FINDINGS):
        if not (label == position).any():
            continue
        mask = pack(concept_mask(scored.layout, (label == position)[None]))
        overlap = finding_alignment.compute(scored.candidate, own, mask=mask)
        start = len(ratios)
        ratios += overlap_ratios(u, overlap, has_T, **tags(config, finding=finding))
        derived += f1_of(ratios, start)
    return ratios, derived


def sensitivity_rows(encoded: Encoded, config: Config, u: Units) -> Rows:
    """Precision, recall and F1 at every level, policy, mode and section other than the headline's."""
    chosen = [{"level": level, "unc": unc, "mode": mode} for level in LEVELS for unc in POLICIES for mode in MODES]
    chosen += [{"section": s} for s in SECTIONS]
    rows: Rows = []
    for changed in chosen:
        if all(getattr(config, k) == v for k, v in changed.items()):
            continue
        scored = score(encoded, config, **changed)
        overlap = finding_alignment.compute(scored.candidate, own_reference(scored, encoded))
        ratios = overlap_ratios(u, overlap, scored.has_I[encoded.instance_T], **tags(config, **changed))
        rows += estimate(u, ratios, f1_of(ratios, 0), encoded.vocabulary.teachers, (config.draws, config.seed)).rows
    return rows


def ceiling_rows(encoded: Encoded, config: Config) -> Rows:
    """The same report's FINDINGS scored against its IMPRESSION: what a perfect reader would reach."""
    both = np.asarray(encoded.sections_I2.all(axis=1))
    if not both.any():
        return []
    layout = layout_of(
        encoded.vocabulary, level=config.level, unc=config.unc, mode=config.mode, hierarchy=config.hierarchy
    )
    one, other = (build(part, encoded.n_instances, layout) for part in encoded.reference)
    overlap = finding_alignment.compute(one, other)
    every = np.arange(encoded.n_instances)
    u = units_of(encoded.patient_I, encoded.study_I, every, np.zeros(len(every), dtype=np.int64), 1)
    ratios = overlap_ratios(u, overlap, both, **tags(config, section="findings against impression"))
    return estimate(u, ratios, f1_of(ratios, 0), ["(ceiling)"], (config.draws, config.seed)).rows
