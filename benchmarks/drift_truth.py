"""The drift report against known truth: `python -m benchmarks.drift_truth [--tiny]`.

Every rate of the report, per teacher, beside the true one of simulated worlds, for findings of clauses the lexicon's
authors could read (`seen`), of clauses kept from them (`held_out`) and for all; drift along the steps, planted and not;
and which teacher the weights suppress most. Worlds, seeds and tolerances stand in `drift_truth.toml`, which was
committed before the first run. A rate outside its tolerance is reported, never widened away.
"""

import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import common
from cxr_max import data, drift, findings, mimic, synth
from cxr_max.drift import along, per_teacher, ratios, states
from cxr_max.drift.encoded import NO_SIDE, Encoded, Findings, side_code
from cxr_max.schema import STATUSES, Scannable

KEYS = ("instance_id", "teacher", "generation")
PARTS = ("all", "seen", "held_out")
ALPHA = 0.05
PLAN: Mapping[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class View:
    """A release with some of its tables replaced."""

    def __init__(self, base: Scannable, tables: Mapping[str, pl.DataFrame]) -> None:
        self._base, self._tables = base, tables
        self.manifest = base.manifest

    def scan(self, table: str) -> pl.LazyFrame:
        """The replaced table, else that of the base."""
        frame: pl.LazyFrame = self._tables[table].lazy() if table in self._tables else self._base.scan(table)
        return frame


def main(tiny: bool = False) -> None:
    """Make the worlds, compare, print and write."""
    figures: dict[str, Any] = {"tolerances": "benchmarks/drift_truth.toml", "rates": {}, "order": {}, "weights": {}}
    for seed in PLAN["seeds"][: 1 if tiny else None]:
        with tempfile.TemporaryDirectory() as folder:
            world = make(Path(folder), seed, 40 if tiny else PLAN["subjects"])
            found = compare(world)
            figures["rates"][str(seed)] = found
            figures["order"][str(seed)] = order(found["all"])
            figures["weights"][str(seed)] = weights(world)
    figures["held"], figures["not_held"] = sorted(_held(figures, True)), sorted(_held(figures, False))
    if not tiny:
        figures["steps"] = {f"{plan['subjects']} patients": steps(plan) for plan in PLAN["steps"]}
    common.write("drift_truth", figures, tiny=tiny, packages=("numpy", "polars"))


def steps(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The tests along the steps in worlds without and with planted drift, and whether the headline keeps the plan."""
    n = plan["subjects"]
    out: dict[str, Any] = {"0.0": [step_tests(0.0, s, n) for s in plan["null_seeds"]]}
    out |= {str(x): [step_tests(x, s, n) for s in plan["planted_seeds"]] for x in plan["planted"]}
    false = sum(row[along.KIND_ADJUSTED]["p"] <= ALPHA for row in out["0.0"])
    found = [
        row[along.KIND_ADJUSTED]["p"] <= ALPHA and row[along.KIND_ADJUSTED]["slope"] * x > 0
        for x in plan["planted"] for row in out[str(x)]
    ]  # fmt: skip
    held = false <= plan["most_null_rejections"] and all(found)
    return {**out, "null_rejections": false, "planted_found": f"{sum(found)} of {len(found)}", "holds": held}


def make(folder: Path, seed: int, subjects: int, **options: Any) -> Path:
    """A world with its release."""
    world = folder / "world"
    synth.write_world(synth.WorldConfig(subjects=subjects, seed=seed, images=False, **options), world)
    data.build([world / "raw"], world / "release")
    return world


def joined(world: Path) -> Scannable:
    """The release of a world with its reports."""
    found: Scannable = mimic.join(data.open_release(world / "release"), mimic.open_root(world / "mimic"))
    return found


def truth(world: Path, name: str) -> pl.DataFrame:
    """A truth table; statements that nothing is found name no concept of the lexicon and are left out."""
    rows = pl.read_parquet(world / "truth" / f"{name}.parquet")
    return rows.filter(pl.col("concept") != "no_finding") if "concept" in rows.columns else rows


def compare(world: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Per part and rate: measured and true value per teacher, largest distance, tolerance, whether it holds."""
    source = joined(world)
    said = truth(world, "assertions").filter(pl.col("outcome") != "missed")
    stored = _with_clause(source.scan("findings").collect(), said)
    config = drift.Config()
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for part in PARTS:
        keep = pl.lit(True) if part == "all" else pl.col("held_out") == (part == "held_out")
        measured = of_world(drift.encode(View(source, {"findings": stored.filter(keep)}), config))
        exact = oracle(world, source, said.filter(keep), measured)
        out[part] = _rows(rates(measured, config), rates(exact, config), PLAN["tolerance"][part])
    out["planted"] = _rows(
        rates(of_world(drift.encode(source, config)), config), planted(world), PLAN["tolerance"]["planted"]
    )
    return out


def _with_clause(stored: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """Findings with the mark of the clause they lie in; what lies in no clause counts as seen."""
    clauses = said.select(*KEYS, pl.col("start").alias("from"), "end", "held_out").unique([*KEYS, "from"]).sort("from")
    joined_ = stored.sort("start").join_asof(
        clauses, left_on="start", right_on="from", by=list(KEYS), suffix="_clause", check_sortedness=False
    )
    inside = pl.col("start") < pl.col("end_clause")
    return joined_.with_columns((inside & pl.col("held_out")).fill_null(False).alias("held_out"))


def of_world(encoded: Encoded) -> Encoded:
    """The same with concepts that the simulator does not tell apart as one."""
    place = {c: k for k, c in enumerate(encoded.vocabulary.concepts)}
    code = np.arange(len(place), dtype=np.int16)
    for other, one in PLAN["same"].items():
        code[place[other]] = place[one]
    findings_, *parts = (f._replace(concept=code[f.concept]) for f in (encoded.findings, *encoded.reference))
    return replace(encoded, findings=findings_, reference=(parts[0], parts[1]))


def oracle(world: Path, source: Scannable, said: pl.DataFrame, measured: Encoded) -> Encoded:
    """The release as if read without error: the simulator's assertions of trajectories and of reports.

    A refusal is a text that declines. One that names no finding but tells how the image was taken does not decline; the
    truth table's `refusal` counts it as well, the report does not.
    """
    table = said.with_row_index("i").select(
        *KEYS, pl.col("i").cast(pl.UInt32), "step", "concept", "label", "status", "side", "zone",
        pl.lit("truth").alias("lexicon_version"),
    )  # fmt: skip
    refused = truth(world, "trajectories").select(*KEYS, pl.col("declined").alias("refusal"))
    rows = source.scan("trajectories").drop("refusal").join(refused.lazy(), on=KEYS).collect()
    encoded = drift.encode(View(source, {"findings": table, "trajectories": rows}), drift.Config())
    reports = truth(world, "reports")
    parts = [_reference(reports.filter(pl.col("section") == s), encoded) for s in ("findings", "impression")]
    names = measured.vocabulary.concepts
    if names != encoded.vocabulary.concepts:
        raise SystemExit("the two readings have different vocabularies")
    remark = [names.index(c) for c in PLAN["remarks"]["concepts"]]
    for k, read in enumerate(measured.reference):
        rest = np.isin(read.concept, remark)
        parts[k] = Findings(*(np.concatenate([a, b[rest]]) for a, b in zip(parts[k], read, strict=True)))
    return replace(encoded, reference=(parts[0], parts[1]))


def _reference(rows: pl.DataFrame, encoded: Encoded) -> Findings:
    place = {c: k for k, c in enumerate(encoded.vocabulary.concepts)}
    zone = {z: k + 1 for k, z in enumerate(encoded.vocabulary.zones)}
    instances = pl.DataFrame({"study_id": encoded.study_I, "row": np.arange(encoded.n_instances)})
    found = rows.with_columns(pl.col("study_id").cast(pl.Int64)).join(instances, on="study_id").sort("row")
    columns = (
        [-1] * len(found), [place[c] for c in found["concept"]], [STATUSES.index(s) for s in found["status"]],
        [NO_SIDE if s is None else side_code(s) for s in found["side"]], [zone.get(z, 0) for z in found["zone"]],
    )  # fmt: skip
    return Findings(found["row"].to_numpy().astype(np.int64), *(np.array(c, dtype=np.int16) for c in columns))


def rates(encoded: Encoded, config: drift.Config) -> dict[str, dict[str, float]]:
    """Every rate of the report that a tolerance names: name -> teacher -> value."""
    u = per_teacher.units(encoded)
    scored = per_teacher.score(encoded, config)
    chosen, _ = per_teacher.headline_ratios(encoded, config, scored, u)
    chosen = [*chosen, *per_teacher.grounding_ratios(encoded, config, u)]
    rows = ratios.estimate(u, chosen, [], encoded.vocabulary.teachers, (0, 0)).rows
    out: dict[str, dict[str, float]] = {}
    for row in rows:
        name = row["metric"] if row["averaging"] == "macro" else f"{row['metric']}/micro"
        out.setdefault(name, {})[row["teacher"]] = row["value"]
    return out


def planted(world: Path) -> dict[str, dict[str, float]]:
    """Rates of the events themselves, over the concepts a trajectory asserts; refusals over trajectories."""
    device = {c for c, entry in findings.concepts().items() if entry.label == "Support Devices"}
    said = truth(world, "assertions").filter(pl.col("outcome") != "missed")
    per = said.group_by(*KEYS, "concept").agg(
        *((pl.col("outcome") == o).any().alias(o) for o in ("flipped_side", "flipped_status", "invented")),
        (pl.col("status") != "absent").any().alias("affirmed"),
        (pl.col("status") == "uncertain").any().alias("hedged"),
        pl.col("concept").is_in(sorted(device)).first().alias("device"),
    )
    thing, tool = pl.col("affirmed") & ~pl.col("device"), pl.col("affirmed") & pl.col("device")
    found = per.group_by("teacher").agg(
        pl.col("flipped_side").mean().alias("laterality_flip_rate/micro"),
        pl.col("flipped_status").mean().alias("negation_flip_rate/micro"),
        pl.col("invented").filter(thing).mean().alias("invented_finding_rate/micro"),
        pl.col("invented").filter(tool).mean().alias("invented_device_rate/micro"),
        pl.col("hedged").filter(pl.col("affirmed")).mean().alias("hedging_rate/micro"),
    )
    whole = truth(world, "trajectories").group_by("teacher").agg(pl.col("declined").mean().alias("refusal_rate"))
    rows = found.join(whole, on="teacher").to_dicts()
    return {m: {r["teacher"]: r[m] for r in rows} for m in rows[0] if m != "teacher"}


def _rows(
    measured: Mapping[str, Mapping[str, float]], true: Mapping[str, Mapping[str, float]], allowed: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    out = {}
    for name, tolerance in allowed.items():
        gaps = {t: measured[name][t] - true[name][t] for t in true[name]}
        known = [abs(g) for g in gaps.values() if not np.isnan(g)]
        worst = max(known, default=float("nan"))
        out[name] = {
            "measured": {t: round(v, 4) for t, v in measured[name].items()},
            "true": {t: round(true[name][t], 4) for t in measured[name]},
            "largest": round(worst, 4),
            "mean_bias": round(float(np.nanmean(list(gaps.values()))), 4),
            "tolerance": tolerance,
            "holds": bool(worst <= tolerance),
        }
    return out


def order(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Spearman correlation of measured with true over the teachers, where these lie far enough apart."""
    out = {}
    for name, row in found.items():
        true = np.array(list(row["true"].values()))
        measured = np.array([row["measured"][t] for t in row["true"]])
        if np.ptp(true) > 2 * row["tolerance"]:
            rank = np.corrcoef(np.argsort(np.argsort(true)), np.argsort(np.argsort(measured)))[0, 1]
            out[name] = {"spearman": round(float(rank), 3), "holds": bool(rank >= PLAN["order"]["least"])}
    return out


def weights(world: Path) -> dict[str, Any]:
    """The teacher with the largest mean weight, and the most wrong one under three readings of "most wrong"."""
    report = drift.report(joined(world), draws=0, permutations=1, shuffles=1, embedding_n=0)
    mean = report.weights().group_by("teacher").agg(pl.col("weight").mean()).sort("weight")
    said = truth(world, "assertions").filter(pl.col("outcome") != "missed")
    wrong = pl.col("outcome") != "right"
    tuples = truth(world, "assertions").filter((pl.col("status") != "absent") | (pl.col("outcome") == "flipped_status"))
    tuples = tuples.unique([*KEYS, "concept", "side", "outcome"])
    share = tuples.group_by("instance_id", "teacher").agg(wrong.mean().alias("x"))
    n = truth(world, "trajectories").group_by("teacher").len()
    counted = said.filter(wrong).group_by("teacher").len("wrong").join(n, on="teacher")
    readings = {
        "mean share of wrong tuples per instance": share.group_by("teacher").agg(pl.col("x").mean()),
        "share of wrong assertions": said.group_by("teacher").agg(wrong.mean().alias("x")),
        "wrong assertions per trajectory": counted.select("teacher", (pl.col("wrong") / pl.col("len")).alias("x")),
    }
    out: dict[str, Any] = {"largest_weight": mean["teacher"][-1], "weights": dict(mean.iter_rows())}
    for name, table in readings.items():
        ordered = table.sort("x")
        out[name] = {"most_wrong": ordered["teacher"][-1], "agrees": ordered["teacher"][-1] == mean["teacher"][-1],
                     "values": {t: round(x, 4) for t, x in ordered.select("teacher", "x").iter_rows()}}  # fmt: skip
    return out


def step_tests(step_drift: float, seed: int, subjects: int) -> dict[str, Any]:
    """The trend of disagreement given the kind, and the restricted-permutation test of both views."""
    with tempfile.TemporaryDirectory() as folder:
        world = make(Path(folder), seed, subjects, step_drift=step_drift)
        config = drift.Config()
        encoded = drift.encode(joined(world), config)
    borne = states.bearing(encoded)
    trend, rows = along.disagreement(encoded, config)
    curve = [round(r["value"], 4) for r in rows if r["series"] == "disagreement"]
    out: dict[str, Any] = {"seed": seed}
    out[along.KIND_ADJUSTED] = {
        "p": trend.p, "slope": round(trend.slope, 4), "low": round(trend.low, 4), "high": round(trend.high, 4),
        "detectable": round(trend.detectable, 4), "curve": curve,
    }  # fmt: skip
    for view in (along.aligned_view(encoded, borne), along.plain_view(encoded, borne, config.bins)):
        found = along.constancy(view, config)
        out[view.name] = {
            "p": found.p, "slope": round(found.slope, 3), "p_slope": found.p_slope,
            "curve": [round(float(g), 4) for g in found.curve],
            "expected": [round(float(g), 4) for g in found.expected],
        }  # fmt: skip
    return out


def _held(figures: Mapping[str, Any], wanted: bool) -> set[str]:
    """Rates that hold in every world, or those that fail in one, as part: name."""
    failed = {
        f"{part}: {name}"
        for found in figures["rates"].values() for part, rows in found.items() for name, row in rows.items()
        if not row["holds"]
    }  # fmt: skip
    every = {
        f"{part}: {name}" for found in figures["rates"].values() for part, rows in found.items() for name in rows
    }  # fmt: skip
    return every - failed if wanted else failed


if __name__ == "__main__":
    common.run(main, __doc__)
