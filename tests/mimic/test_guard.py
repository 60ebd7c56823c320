"""The guard finds what is planted, wherever and however it is dressed, and nothing else."""

import base64
import bz2
import gzip
import html
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
import safetensors.numpy
import zstandard
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

from cxr_max.cli import application
from cxr_max.errors import MissingFileError
from cxr_max.folders import restricted_dir
from cxr_max.mimic import guard as guard_module
from cxr_max.mimic.guard import guard
from cxr_max.mimic.leaks.scan import DERIVED, IMAGE, LABELS, TEXT
from cxr_max.schema import FINDINGS
from tests.mimic import leaky

Dress = Callable[[str], str]
DRESSES: dict[str, Dress] = {
    "plain": str,
    "upper": str.upper,
    "broken lines": lambda t: "\r\n\t".join(t.split()),
    "markdown": lambda t: "> **" + "** _".join(t.split()) + "_",
    "numbered": lambda t: "\n".join(f"{i}. {' '.join(t.split()[3 * i - 3 : 3 * i])}" for i in range(1, 8)),
    "bullets": lambda t: "\n".join(f"* {w}" for w in t.split()),
    "links": lambda t: " ".join(
        f"[{w}](https://example.org/a?b)" if i % 5 == 0 else w for i, w in enumerate(t.split())
    ),
    "html": lambda t: "<ul><li>" + '</li>\n<li class="x y">'.join(t.split()) + "</li></ul>",
    "html within words": lambda t: " ".join(f"<mark>{w[:2]}</mark>{w[2:]}" for w in t.split()),
    "entities": lambda t: "&nbsp;".join(t.split()) + "&#46;",
    "json": lambda t: json.dumps({"x": "\n".join(t.split())}),
    "json in json": lambda t: json.dumps(json.dumps("\t".join(t.split()))),
    "json in html": lambda t: html.escape(json.dumps("\n".join(t.split()))),
    "percent": lambda t: "%20".join(t.split()),
    "punctuation": lambda t: " -- ".join(t.split()) + "?!",
    "typography": lambda t: "\u201c\u2009" + "\u00a0\u2014 ".join(t.split()) + "\u201d",
    "ligatures": lambda t: t.replace("fi", "\ufb01").replace("fl", "\ufb02"),
    "soft hyphens": lambda t: " ".join(f"{w[:3]}\u00ad{w[3:]}" for w in t.split()),
    "attribute": lambda t: f'<div title="{t}"></div>',
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> leaky.World:
    return leaky.write(tmp_path_factory.mktemp("world") / "root")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
def test_a_passage_is_found_in_any_dress(dress: Dress, world: leaky.World, out: Path) -> None:
    (out / "note").write_text(f"before it\n{dress(world.passage(2))}\nafter it", encoding="utf-8")
    report = guard(out, world.open())
    assert report.found == {TEXT: 1}
    assert report.leaks[0].where.endswith("note")
    assert report.leaks[0].at.startswith("line ")


def test_lines_are_counted_and_nothing_of_the_text_is_told(world: leaky.World, out: Path) -> None:
    text = world.passage(4, 15)
    (out / "log.txt").write_text("\n" * 6 + f"INFO loss 0.1 {text}\n")
    report = guard(out, world.open())
    assert [(k.at, k.words, k.patients) for k in report.leaks] == [("line 7", 15, 2)]
    said = json.dumps(report.to_dict())
    assert not any(" ".join(text.split()[i : i + 2]) in said for i in range(14))


@pytest.mark.parametrize("words", [11, 12, 29])
def test_twelve_words_of_one_patient_are_a_leak(words: int, world: leaky.World, out: Path) -> None:
    (out / "x").write_text(f"zzz {world.passage(0, words)} zzz")
    assert guard(out, world.open()).found == ({} if words < 12 else {TEXT: 1})


def test_stock_phrases_are_counted_and_thirty_words_are_a_leak_whoever_has_them(world: leaky.World, out: Path) -> None:
    (out / "stock").write_text(f"Zzz. {leaky.STOCK}. zzz {' '.join(leaky.LONG_STOCK.split()[:29])} zzz")
    report = guard(out, world.open())
    assert report.ok
    assert report.stock == 2
    (out / "stock").write_text(f"zzz {' '.join(leaky.LONG_STOCK.split()[:30])} zzz")
    assert [(k.words, k.patients) for k in guard(out, world.open()).leaks] == [(30, 3)]


def test_a_run_over_a_stock_phrase_into_one_report_is_a_leak(world: leaky.World, out: Path) -> None:
    before = world.reports[min(world.reports)].partition("IMPRESSION:")[0].split()[-2:]
    (out / "x").write_text(f"zzz {' '.join(before)} impression {leaky.STOCK} zzz")
    assert guard(out, world.open()).leaks[0].patients == 2


def _zip(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _arrow(text: str, *, stream: bool) -> bytes:
    table = pa.table({"a": ["x", None, text], "b": [[{"t": "y"}], [], [{"t": "z"}]]})
    buffer = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def _parquet(frame: pl.DataFrame, **options: str) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, **options)
    return buffer.getvalue()


def _sqlite(text: str) -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table runs (id integer, note)")
    connection.executemany("insert into runs values (?, ?)", [(1, "x"), (2, text), (3, text.encode()), (4, None)])
    connection.commit()
    return connection.serialize()


def _png(text: str) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Description", text, zip=True)
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "png", pnginfo=notes)
    return buffer.getvalue()


def _torch(text: str) -> bytes:
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({"weights": torch.randn(300, 300), "notes": [text]}, buffer)
    return buffer.getvalue()


NOISE = np.random.default_rng(1).bytes(5 << 20)
CONTAINERS: dict[str, Callable[[str], bytes]] = {
    "safetensors": lambda t: safetensors.numpy.save({"w": np.ones((64, 64), np.float32)}, {"note": t}),
    "torch": _torch,
    "pickle": lambda t: pickle.dumps({"a": np.random.default_rng(0).normal(size=999), "b": [t]}),
    "numpy utf-32": lambda t: pickle.dumps(np.array(["x", t])),
    "utf-16": lambda t: f"a {t} b".encode("utf-16"),
    "utf-16 in binary": lambda t: b"\x00\x01\x02" + t.encode("utf-16-le") + b"\xff\xfe\x00",
    "deep in noise": lambda t: NOISE[: (1 << 22) - 20] + t.encode() + NOISE[:1000],
    "across windows": lambda t: b"word\n" * ((1 << 22) // 5 - (1 << 14) // 5 - 9) + t.encode() + b"\nword" * 9000,
    "zip": lambda t: _zip("a/b.txt", t.encode()),
    "encrypted neighbour": lambda t: _zip("a.txt", t.encode(), zipfile.ZIP_STORED),
    "zip in zip": lambda t: _zip("inner.zip", _zip("x", t.encode())),
    "tar.gz": lambda t: _tar("notes/x", t.encode()),
    "gz": lambda t: gzip.compress(t.encode()),
    "bz2": lambda t: bz2.compress(t.encode()),
    "xz": lambda t: lzma.compress(t.encode()),
    "zst": lambda t: zstandard.compress(t.encode()),
    "parquet": lambda t: _parquet(pl.DataFrame({"i": [1, 2], "t": ["x", t]})),
    "parquet list": lambda t: _parquet(pl.DataFrame({"t": [["x"], t.split(), None]})),
    "parquet struct": lambda t: _parquet(pl.DataFrame({"s": [{"a": [{"b": t}]}]})),
    "parquet dictionary": lambda t: _parquet(pl.DataFrame({"t": ["x", t, "x"]}).cast(pl.Categorical)),
    "parquet binary": lambda t: _parquet(pl.DataFrame({"t": [b"x", gzip.compress(t.encode())]})),
    "arrow": lambda t: _arrow(t, stream=False),
    "arrow stream": lambda t: _arrow(t, stream=True),
    "sqlite": _sqlite,
    "png note": _png,
    "base64": lambda t: b'{"a": "data:text/plain;base64,' + base64.b64encode(t.encode()) + b'"}',
}


@pytest.mark.parametrize("pack", CONTAINERS.values(), ids=CONTAINERS)
def test_a_passage_is_found_in_any_container(pack: Callable[[str], bytes], world: leaky.World, out: Path) -> None:
    (out / "file.bin").write_bytes(pack(world.passage(5, 25)))
    report = guard(out, world.open())
    assert set(report.found) == {TEXT}
    assert {k.words for k in report.leaks} == {25}
    # The same container with other words in it raises no alarm.
    (out / "file.bin").write_bytes(pack(" ".join(f"word{i}" for i in range(25))))
    assert guard(out, world.open()).ok


def test_rows_are_named_and_runs_do_not_cross_them(world: leaky.World, out: Path) -> None:
    words = world.passage(1, 22).split()
    pl.DataFrame({"t": ["a", " ".join(words[:11]), " ".join(words[11:])]}).write_parquet(out / "x.parquet")
    assert guard(out, world.open()).ok
    frame = pl.DataFrame({"i": range(5000), "t": ["x"] * 4321 + [" ".join(words)] + ["y"] * 678})
    frame.write_parquet(out / "x.parquet")
    assert [k.at for k in guard(out, world.open()).leaks] == ["row 4322, column t"]


def test_the_bytes_of_an_image_are_found(world: leaky.World, out: Path) -> None:
    name, image = next(iter(world.images.items()))
    packed = base64.b64encode(image)
    plants = {
        "picture.jpg": image,
        "page.html": b'<img src="data:image/jpeg;base64,' + packed + b'">',
        "rows.jsonl": b'{"images": ["' + packed + b'"]}\n',
        "cache.pkl": pickle.dumps({"pixels": [image], "n": np.arange(9)}),
        "shard.parquet": _parquet(pl.DataFrame({"image": [{"bytes": image, "path": "x"}]})),
        "cells.parquet": _parquet(pl.DataFrame({"image": ["x", "data:image/jpeg;base64," + packed.decode()]})),
        "shard.tar.gz": _tar("000.jpg", image),
        "weights.zip": _zip("x", image),
    }
    for file, content in plants.items():
        (out / file).write_bytes(content)
    report = guard(out, world.open())
    assert {Path(k.where.partition("!")[0]).name for k in report.leaks} == set(plants)
    assert report.found == {IMAGE: len(plants)}
    for file in plants:
        (out / file).unlink()
    Image.new("L", (50, 50)).save(out / f"{name}.png")
    assert [k.kind for k in guard(out, world.open()).leaks] == [IMAGE]
    (out / f"{name}.png").rename(out / "another.png")
    report = guard(out, world.open())
    assert report.ok
    assert report.pictures == 1


def _label_frame(world: leaky.World, *, wrong: bool = False) -> pl.DataFrame:
    rows = [{"study_id": study, **labels} for study, labels in world.labels.items()]
    frame = pl.DataFrame(rows, schema={"study_id": pl.Int64} | dict.fromkeys(FINDINGS, pl.Float64))
    return frame.with_columns(Edema=pl.when(pl.col("Edema") == 1).then(-1.0).otherwise(1.0)) if wrong else frame


@pytest.mark.parametrize("how", ["csv", "tsv", "jsonl", "parquet", "renamed", "list", "path"])
def test_label_vectors_are_found(how: str, world: leaky.World, out: Path) -> None:
    for wrong in (False, True):
        frame = _label_frame(world, wrong=wrong)
        if how in ("csv", "tsv"):
            frame.write_csv(out / "x", separator="," if how == "csv" else "\t")
        elif how == "jsonl":
            frame.write_ndjson(out / "x")
        elif how == "renamed":
            frame.rename({f: f.lower().replace(" ", "_") for f in FINDINGS}).write_parquet(out / "x")
        elif how == "list":
            lists = pl.concat_list([pl.col(f) for f in FINDINGS]).alias("y")
            frame.select("study_id", lists).write_parquet(out / "x")
        elif how == "path":
            path = "files/p10/p10000001/s" + pl.col("study_id").cast(pl.String) + "/x.jpg"
            frame.select(path.alias("image"), *FINDINGS[:6]).write_parquet(out / "x")
        else:
            frame.write_parquet(out / "x")
        assert guard(out, world.open()).found == ({} if wrong else {LABELS: 1})


def test_ids_pass(world: leaky.World, out: Path) -> None:
    ids = pl.DataFrame(
        {"study_id": list(world.labels), "split": "train", "n_teachers": 7, "instance_id": list(world.images)}
    )
    ids.write_parquet(out / "instances.parquet")
    ids.write_csv(out / "instances.csv")
    assert guard(out, world.open()).ok


def test_source_may_lie_in_its_places_only(world: leaky.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = world.open()
    assert guard(world.path, root).ok
    assert set(guard(world.path, root).allowed) == {TEXT, LABELS, IMAGE}
    folder = restricted_dir(tmp_path / "run" / "restricted")
    (folder / "x.txt").write_text(world.passage())
    assert guard(tmp_path / "run", root).ok
    folder.chmod(0o755)
    assert not guard(tmp_path / "run", root).ok
    folder.chmod(0o700)
    (folder / "RESTRICTED.md").unlink()
    assert not guard(tmp_path / "run", root).ok
    joined = restricted_dir(tmp_path / "joined")
    (joined / "references.parquet").write_bytes(_parquet(pl.DataFrame({"t": [world.passage()]})))
    assert not guard(joined, root).ok
    (joined / guard_module.JOINED_NAME).write_text("{}")
    assert guard(joined, root).ok
    monkeypatch.setenv("CXR_MAX_CACHE", str(tmp_path / "cache"))
    guard(joined, root)
    (tmp_path / "cache" / "x").write_text(world.passage())
    assert guard(tmp_path / "cache", root).ok


def _trajectories(synthetic: bool) -> str:
    row = {"instance_id": "a", "teacher": "gpt-5", "generation": 0, "trajectory": "none", "synthetic": synthetic}
    return json.dumps(row) + "\n"


def test_derived_data_lie_in_credentialed_folders(
    world: leaky.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = world.open()
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "x.jsonl").write_text(_trajectories(False))
    report = guard(tmp_path / "open", root)
    assert report.found == {DERIVED: 1}
    assert report.leaks[0].detail == "columns of the table trajectories"
    folder = restricted_dir(tmp_path / "mine")
    (folder / "x.jsonl").write_text(_trajectories(False))
    assert guard(folder, root).ok
    (tmp_path / ".git").mkdir()
    assert guard(folder, root).found == {DERIVED: 1}
    (tmp_path / "open" / "x.jsonl").write_text(_trajectories(True))
    assert guard(tmp_path / "open", root).ok
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    assert guard(tmp_path / "open", root).found == {DERIVED: 1}


def test_checkpoints_are_derived_data(world: leaky.World, tmp_path: Path) -> None:
    root = world.open()
    folder = tmp_path / "final"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    assert guard(folder, root).ok
    (folder / "training.json").write_text(json.dumps({"synthetic": False, "training_ids": ["a"]}))
    report = guard(folder, root)
    assert [(leak.kind, Path(leak.where).name) for leak in report.leaks] == [(DERIVED, "model.safetensors")]
    (folder / "training.json").write_text(json.dumps({"synthetic": True, "training_ids": ["a"]}))
    assert guard(folder, root).ok
    (folder / "training.json").write_text("{")
    assert not guard(folder, root).ok
    mine = restricted_dir(tmp_path / "mine")
    for file in folder.iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    assert guard(mine, root).ok


def test_the_synthetic_mark_hides_no_report(world: leaky.World, out: Path) -> None:
    row = json.loads(_trajectories(True)) | {"trajectory": world.passage()}
    (out / "x.jsonl").write_text(json.dumps(row) + "\n")
    (out / "SYNTHETIC").touch()
    (out / "manifest.json").write_text('{"synthetic": true}')
    assert guard(out, world.open()).found == {TEXT: 1}


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b[:20], lambda b: b[:10] + b"\0" * 50 + b[10:]]
)
def test_broken_files_are_told_and_stop_nothing(
    damage: Callable[[bytes], bytes], world: leaky.World, out: Path
) -> None:
    for name in ("zip", "tar.gz", "gz", "bz2", "xz", "zst", "parquet", "arrow", "arrow stream", "sqlite"):
        (out / name).write_bytes(damage(CONTAINERS[name](world.passage(5, 25))))
    (out / "empty").touch()
    (out / "zz.txt").write_text(world.passage(6))
    report = guard(out, world.open())
    assert report.closed
    assert any(k.where.endswith("zz.txt") for k in report.leaks)


@pytest.mark.parametrize("pack", ["gz", "bz2", "xz"])
def test_what_comes_out_of_a_stream_that_breaks_is_looked_at(pack: str, world: leaky.World, out: Path) -> None:
    text = f"{world.passage(5, 25)} {' '.join(f'w{i * 7919}' for i in range(400_000))}"
    whole = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[pack](text.encode())
    (out / "log").write_bytes(whole[: len(whole) * 3 // 4])
    report = guard(out, world.open())
    assert report.found == {TEXT: 1}
    assert len(report.closed) == 1


def test_large_members_go_through_a_nameless_file(
    world: leaky.World, out: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_max.mimic.leaks.formats._SPOOL", 1000)
    (out / "x.zip").write_bytes(_zip("a.txt", b"w " * 9_000 + world.passage(5, 25).encode()))
    assert guard(out, world.open()).found == {TEXT: 1}
    files = [p for p in (own_folders / "cache").rglob("*") if p.is_file() and p.name != ".gitignore"]
    assert {p.suffix for p in files} <= {".npy"}
    monkeypatch.setattr("cxr_max.mimic.leaks.formats.MAX_MEMBER", 500_000)
    (out / "x.zip").write_bytes(_zip("a.txt", b"w " * 900_000))
    assert "TooLarge" in guard(out, world.open()).closed[0][1]


def test_the_index_is_kept_until_a_report_changes(
    tmp_path: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = leaky.write(tmp_path / "root", patients=3)
    guard(tmp_path / "root", world.open())
    kept = next((own_folders / "cache" / "guard").glob("*/*/hashes.npy"))
    assert (own_folders / "cache").stat().st_mode & 0o077 == 0
    made = kept.stat().st_mtime_ns
    guard(tmp_path / "root", world.open())
    assert kept.stat().st_mtime_ns == made
    file = next((tmp_path / "root").rglob("s*.txt"))
    file.write_text(file.read_text() + "more")
    guard(tmp_path / "root", world.open())
    assert not kept.exists()
    assert len(list((own_folders / "cache" / "guard").glob("*/*"))) == 1


def test_the_command_line(world: leaky.World, out: Path) -> None:
    (out / "x.html").write_text(world.passage())
    runner = CliRunner()
    options = ["mimic", "guard", str(out), "--mimic-root", str(world.path)]
    result = runner.invoke(application(), [*options, "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["found"] == {TEXT: 1}
    shown = runner.invoke(application(), options)
    assert shown.exit_code == 1
    assert "x.html" in shown.stdout
    assert world.passage(words=3) not in shown.stdout
    (out / "x.html").write_text("nothing")
    assert runner.invoke(application(), options).exit_code == 0
    missing = runner.invoke(application(), ["mimic", "guard", str(out / "none"), "--mimic-root", str(world.path)])
    assert isinstance(missing.exception, MissingFileError)


def test_reports_are_read_from_the_zip(tmp_path: Path, out: Path) -> None:
    world = leaky.write(tmp_path / "root", patients=4)
    with zipfile.ZipFile(tmp_path / "root" / "mimic-cxr-reports.zip", "w") as archive:
        for file in sorted((tmp_path / "root").rglob("s*.txt")):
            archive.write(file, file.relative_to(tmp_path / "root"))
            file.unlink()
    (out / "x").write_text(world.passage(3))
    assert guard(out, world.open()).found == {TEXT: 1}


def test_nothing_there_is_an_error(world: leaky.World, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        guard(tmp_path / "nowhere", world.open())
