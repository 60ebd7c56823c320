"""Every command of the README works, in the order in which it stands there, in one empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import page
from cxr_max.recipes.synthetic_bench import DESIGN

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def steps(text: str) -> list[str]:
    """Commands of the shell blocks, without comments, and whole Python blocks, in order."""
    found = []
    for language, block in BLOCK.findall(text):
        lines = (line.partition(" #")[0].strip() for line in block.splitlines())
        found += [block] if language else [line for line in lines if line and not line.startswith("#")]
    return found


README = steps((ROOT / "README.md").read_text(encoding="utf-8"))
SHELL = [s for s in README if "\n" not in s]


def test_make_commands_are_what_continuous_integration_runs() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in (c for c in SHELL if c.startswith("make ")):
        target = line.split()[1]
        assert f"make {target}" in ci
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_command_is_of_a_known_kind() -> None:
    assert {c.split()[0] for c in SHELL} <= {"make", "cxr-max", "pip"}
    assert any(c.startswith("cxr-max") for c in SHELL)


def run(step: str, folder: Path) -> subprocess.CompletedProcess[str]:
    shell = "from cxr_max.cli import main; main()"
    call = [step] if "\n" in step else [shell, *shlex.split(step)[1:]]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {"CXR_MAX_CACHE": str(folder / ".cache"), "CXR_MAX_CONFIG": str(folder / ".config.toml"), "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", *call],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_step_works_in_the_order_in_which_it_stands(tmp_path: Path) -> None:
    """One test, since each step needs what the ones before it made."""
    done = [s for s in README if not s.startswith(("make ", "pip "))]
    assert len(done) > 8
    for step in done:
        ran = run(step, tmp_path)
        assert ran.returncode == 0, f"{step}\n{ran.stderr}"


PRIMARY = DESIGN.primary.title
FIGURES = [
    ("engine_vs_trl", ("cases", "main", "times_better", "trl_pairs", "step_s"), "11.4x as fast"),
    ("engine_vs_trl", ("cases", "main", "times_better", "trl_pairs", "peak_mib"), "3.3x less memory"),
    ("engine_vs_trl", ("cases", "main", "times_better", "trl_pairs", "step_mib"), "7.0x beyond weights"),
    ("engine_vs_trl", ("cases", "short_prompt", "times_better", "trl_pairs", "step_s"), "5.6x as fast with a short"),
    ("engine_vs_trl", ("cases", "main", "times_better", "concatenated", "step_s"), "3.8x as fast, 1.8x"),
    ("engine_vs_trl", ("cases", "main", "times_better", "concatenated", "peak_mib"), "1.8x less memory; 2.2x"),
    ("engine_vs_trl", ("cases", "short_prompt", "times_better", "concatenated", "step_s"), "2.2x as fast with a short"),
    ("openi_locked", ("unc=neg", "ours", "micro"), ".943 [.933, .951]"),
    ("openi_locked", ("unc=neg", "ours", "macro"), ".907 [.886, .923]"),
    ("openi_locked", ("unc=neg", "medspacy", "ours_minus_it", "macro"), ".047 [.030, .066]"),
    ("openi_locked", ("unc=neg", "negspacy", "ours_minus_it", "macro"), ".067 [.046, .087]"),
    ("findings_speed", ("medspacy", "times_slower_than_ours"), "48.9x as fast"),
    ("findings_speed", ("negspacy", "times_slower_than_ours"), "1.4x as fast"),
    ("mimic_join", ("ratio lazy-tree",), "2.4x as fast with text lazy"),
    ("mimic_join", ("ratio text-tree",), "1.6x with text"),
    ("text_metrics", ("all_ratio_cpu",), "7.3x as fast"),
    ("build_release", ("ratio_to_datasets",), "10.2x as long"),
    ("image_reading", ("dicom_s", "ratio"), "1.1x as long"),
    ("drift_scale", ("with_findings", "wall_s"), "144 s with findings"),
    ("drift_scale", ("without_findings", "wall_s"), "237 s without"),
    ("guard", ("cold_s",), "73 s, then 17 s"),
    ("guard", ("planted",), "1,000 of 1,000 planted"),
    ("consensus_quality", ("worlds", "correlation_0", "difference_to_random_teacher", "vote", "precision_affirmed"),
     "+.52"),
    *(("synthetic_bench", ("0.5", "differences", pair, PRIMARY), words) for pair, words in (
        ("apo - sft", "-.010 [-.026, .006]"),
        ("apo - sft_long", "-.012 [-.029, .006]"),
        ("sft_single - sft", "-.050 [-.079, -.020]"),
        ("apo - dpo_pairs", ".003 [-.012, .017]"),
        ("apo_anchored - dpo_pairs_anchored", "-.001 [-.007, .005]"),
        ("apo - apo_random_neg", ".001 [-.012, .014]"),
    )),
    ("synthetic_bench", ("0", "differences", "apo - sft", PRIMARY), "-.017 [-.057, .023] at 0"),
    ("synthetic_bench", ("0.25", "differences", "apo - sft", PRIMARY), "-.008 [-.026, .009] at .25"),
    ("synthetic_bench", ("0.75", "differences", "apo - sft", PRIMARY), "-.012 [-.033, .010] at .75"),
    ("synthetic_bench", ("0.5", "differences", "apo - sft", PRIMARY, "detectable"), ".022, with a power"),
    ("synthetic_bench", ("0.5", "separation", "apo", "length_chosen"), "49 tokens where"),
    ("synthetic_bench", ("0.5", "separation", "apo", "length_rejected"), "132, so the losses"),
    ("synthetic_bench", ("0.5", "separation", "apo", "step"), "3 on every negative"),
    ("synthetic_bench", ("0.5", "rows", "apo", "words"), "107 words with"),
    ("synthetic_bench", ("0.5", "rows", "sft", "words"), "93 to"),
    ("synthetic_bench", ("0.5-greedy", "rows", "apo", "abstention"), ".715 of APO"),
    ("synthetic_difficulty", ("tried", 1, "mean"), ".641 at best"),
]  # fmt: skip


@pytest.mark.parametrize(("result", "path", "words"), FIGURES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_figure_of_the_readme_is_that_of_its_result(result: str, path: tuple[str, ...], words: str) -> None:
    assert words in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    measured = page.value({"figure": path}, page.results()[result]["figures"])
    assert measured is not None
    said = [float(n.replace(",", "")) for n in re.findall(r"-?\d*\.?\d[\d,]*", words)]
    for number, shown in zip(measured, said, strict=False):
        digits = len(words.split(".")[1].split("x")[0].split(" ")[0].rstrip(",;]")) if "." in words else 0
        assert shown == pytest.approx(number, abs=0.51 * 10**-digits), words
