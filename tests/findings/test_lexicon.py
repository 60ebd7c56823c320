"""The lexicon file itself: every phrase has a source that is known and true, and compiles to what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from benchmarks import _openi_corpus
from cxr_max import findings
from cxr_max.findings import lexicon

FIELDS = {
    "concept": {"label", "parent", "doc", "blocks"},
    "subject": {"normal"},
    "state": {"subject", "concept", "status"},
}


def entries() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where it stands in the file, and the entry, of everything that holds phrases."""
    data = lexicon.raw()
    for kind in ("concept", "subject"):
        yield from ((f"{kind}.{name}", entry) for name, entry in data[kind].items())
    yield from ((f"state.{i}", entry) for i, entry in enumerate(data["state"]))
    for kind in ("cues", "sides", "zones"):
        yield from ((f"{kind}.{k}", e) for k, e in data[kind].items() if (kind, k) != ("sides", "none"))


def test_every_phrase_stands_under_a_known_source() -> None:
    for where, entry in entries():
        fields = FIELDS.get(where.split(".")[0], set())
        assert set(entry) <= fields | set(lexicon.SOURCES), where
        listed = list(lexicon.phrases(entry))
        assert listed, where
        assert all(isinstance(p, str) and p for p in listed), where
        assert len(listed) == len(set(listed)), f"{where} lists a phrase under two sources"
    assert {c for c in lexicon.concepts().values() if not c.sources} == set()


def test_the_file_says_what_each_source_means() -> None:
    head = lexicon.FILE.read_text(encoding="utf-8").split("version =")[0]
    for source in lexicon.SOURCES:
        assert re.search(rf"^#   {source} +\w", head, re.M)


def test_phrases_from_the_reports_stand_in_their_open_half() -> None:
    """An `openi` phrase has a wording in the open half; the locked half is not looked at."""
    if _openi_corpus.archive() is None:
        pytest.skip("needs torchxrayvision (pip install --no-deps torchxrayvision==1.5.7)")
    forms = lexicon._forms({w for _, e in entries() for p in lexicon.phrases(e) for x in lexicon.expand(p) for w in x})
    folded = (" ".join(re.findall(r"[a-z0-9]+", r.text.lower())) for r in _openi_corpus.half("open"))
    text = " \n ".join(" ".join(forms.get(w, w) for w in line.split()) for line in folded)
    for where, entry in entries():
        for phrase in entry.get("openi", ()):
            ways = {" ".join(forms[w] for w in way) for way in lexicon.expand(phrase)}
            assert any(f" {way} " in f" {text} " for way in ways), (where, phrase)


def test_patterns_spell_out_words_only() -> None:
    for where, entry in entries():
        for phrase in lexicon.phrases(entry):
            for way in lexicon.expand(phrase):
                assert all(re.fullmatch(r"[a-z0-9]+", word) for word in way), (where, phrase, way)
                assert "th" not in way, f"{where}: {phrase!r} makes 'th' of an optional 'the'"


def test_compiled_alike_in_every_process() -> None:
    """The order in which Python hashes strings must not decide which plurals are known."""
    code = "import hashlib; from cxr_max.findings import lexicon as x; forms = x.load()\n"
    code += "words = sorted(forms.main), sorted(forms.hot), sorted(forms.main['the'])\n"
    code += "print(hashlib.sha256(repr(words).encode()).hexdigest())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, text=True, capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2", "3")
    }  # fmt: skip
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("Pacer leads end in the right atrium.", None),
        ("Pacer leads end in the left ventricle.", None),
        ("Left pacemaker with leads in the right atrium.", "left"),
        ("Right jugular catheter ends in the right atrium.", "right"),
        ("Enlargement of the left atrium.", None),
        ("Opacity in the right base.", "right"),
    ],
)
def test_a_chamber_of_the_heart_gives_no_side(text: str, side: str | None) -> None:
    assert [f.side for f in findings.extract(text).findings] == [side]
