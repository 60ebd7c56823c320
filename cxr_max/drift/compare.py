"""A release against an older one: the same instances, paired, one lexicon; text, lexicon and set told apart."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from cxr_max.drift import per_teacher, permute, reading, resample, sources
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import Encoded
from cxr_max.drift.extra import Extra, Rows
from cxr_max.drift.ratios import study_values
from cxr_max.drift.stages import Store
from cxr_max.drift.stats import finding_alignment
from cxr_max.drift.stats._common import Floats, divide
from cxr_max.errors import DataError
from cxr_max.findings import LEXICON_VERSION
from cxr_max.schema import Scannable


class _Kept(NamedTuple):
    """A release restricted to what another one holds as well."""

    tables: dict[str, pl.LazyFrame]
    manifest: Any

    def scan(self, table: str) -> pl.LazyFrame:
        """A table by name."""
        return self.tables[table]


def changes(new: Scannable, old: Scannable) -> dict[str, Any]:
    """Counts of trajectories: shared, added, removed, changed text; and the lexicon of the stored findings."""
    hashed = [
        sources.needed(d, "trajectories")
        .select(*sources.KEYS, pl.col("trajectory").hash(seed=0).alias("hash"))
        .collect()
        for d in (new, old)
    ]
    both = hashed[0].join(hashed[1], on=sources.KEYS, suffix="_old")
    versions = []
    for data in (new, old):
        stored = sources.scan(data, "findings")
        known = (
            [] if stored is None else stored.select(pl.col("lexicon_version").unique()).collect().to_series().to_list()
        )
        versions.append(sorted(v for v in known if v is not None))
    return {
        "shared_trajectories": len(both),
        "added_trajectories": len(hashed[0]) - len(both),
        "removed_trajectories": len(hashed[1]) - len(both),
        "changed_text": int((both["hash"] != both["hash_old"]).sum()),
        "stored_lexicon_new": versions[0],
        "stored_lexicon_old": versions[1],
        "changed_lexicon": bool(versions[0] and versions[1] and versions[0] != versions[1]),
        "compared_with_lexicon": LEXICON_VERSION,
        "old_version": old.manifest.get("version"),
        "new_version": new.manifest.get("version"),
    }


def _restrict(data: Scannable, keys: pl.DataFrame, references: pl.LazyFrame | None) -> _Kept:
    ids = keys.select("instance_id").unique().lazy()
    tables = {
        "instances": sources.needed(data, "instances").join(ids, on="instance_id", how="semi"),
        "trajectories": sources.needed(data, "trajectories").join(keys.lazy(), on=sources.KEYS, how="semi"),
    }
    if references is not None:
        tables["references"] = references.join(ids, on="instance_id", how="semi")
    return _Kept(tables, data.manifest)


def compute(new: Scannable, old: Scannable, config: Config, store: Store | None = None) -> Extra:
    """Paired differences new minus old per teacher, on shared trajectories, both extracted afresh.

    Args:
        new: the newer release, with or without reports.
        old: the older one.
        config: settings of both.
        store: where a run that may be killed keeps what was extracted; nowhere when None.

    Raises:
        DataError: the releases share no trajectory, or only one of them is synthetic.
    """
    if bool(new.manifest.get("synthetic")) != bool(old.manifest.get("synthetic")):
        raise DataError("one release is synthetic, the other is not; they are never compared")
    keys = sources.needed(new, "trajectories").select(*sources.KEYS).collect()
    keys = keys.join(sources.needed(old, "trajectories").select(*sources.KEYS).collect(), on=sources.KEYS, how="semi")
    if not len(keys):
        raise DataError("the two releases share no trajectory", next="cxr-max diff OLD NEW")
    references = sources.scan(new, "references")
    references = references if references is not None else sources.scan(old, "references")
    kept = store or Store()
    parts = [
        reading.encode(_restrict(d, keys, references), config, fresh=True, store=kept.under(name))
        for d, name in ((new, "new"), (old, "old"))
    ]
    found = changes(new, old)
    rows, tests = _paired(parts[0], parts[1], config)
    text = (
        f"against {found['old_version']}: {found['shared_trajectories']} trajectories shared, {found['changed_text']} "
        f"with another text, {found['added_trajectories']} added, {found['removed_trajectories']} removed; both sides "
        f"extracted with lexicon {LEXICON_VERSION}"
    )
    return Extra(teachers=rows, tests=tests, notes=(text,), about={"against": found})


def _figures(encoded: Encoded, config: Config) -> dict[str, Floats]:
    """studies x teachers values of every figure compared."""
    u = per_teacher.units(encoded)
    name = per_teacher.tags(config)
    scored = per_teacher.score(encoded, config)
    has_T = scored.has_I[encoded.instance_T]
    ratios = per_teacher.rate_ratios(encoded, config, u, has_T, name)[:3]
    if encoded.has_reference_I.any():
        overlap = finding_alignment.compute(scored.candidate, per_teacher.own_reference(scored, encoded))
        ratios += per_teacher.overlap_ratios(u, overlap, has_T, **name)[:2]
    return {str(r.name["metric"]): study_values(u, r) for r in ratios}


def _paired(new: Encoded, old: Encoded, config: Config) -> tuple[Rows, Rows]:
    first, second = _figures(new, config), _figures(old, config)
    u = per_teacher.units(new)
    rows: Rows = []
    tests: Rows = []
    for metric in first:
        gap = first[metric] - second[metric]
        for code, teacher in enumerate(new.vocabulary.teachers):
            known = ~np.isnan(gap[:, code])
            terms = np.stack([np.where(known, gap[:, code], 0.0), known.astype(float)], axis=1)
            sums = resample.patient_sums(terms, u.patient_of_study, u.n_patients)
            interval = resample.bootstrap(sums, _quotient, draws=config.draws, seed=config.seed)
            test = permute.paired_mean(gap[:, code], u.patient_of_study, draws=config.permutations, seed=config.seed)
            name = {**per_teacher.tags(config), "metric": f"change of {metric}", "averaging": "macro"}
            rows.append(
                {
                    "teacher": teacher, **name, "value": float(interval.value[0]), "low": float(interval.low[0]),
                    "high": float(interval.high[0]), "standard_error": float(interval.error[0]), "n": test.n,
                    "n_undefined": int((~known).sum()), "n_patients": test.n_patients, "note": "new minus old, paired",
                }
            )  # fmt: skip
            tests.append(
                {
                    "family": "against the older release", "test": f"change of {metric}", "teacher_a": teacher,
                    "metric": metric, "statistic": test.statistic, "effect": test.effect, "p": test.p, "n": test.n,
                    "n_patients": test.n_patients, "note": test.reason,
                    "smallest_detectable": float(resample.smallest_detectable(interval.error[0])),
                }
            )  # fmt: skip
    return rows, tests


def _quotient(sums: Floats) -> Floats:
    return divide(sums[..., :1], sums[..., 1:])
