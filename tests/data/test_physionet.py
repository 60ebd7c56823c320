"""The bundle for PhysioNet: name, sections, sums, licence; a valid release that plain `datasets` loads."""

import hashlib
import shutil
import stat
import subprocess
from pathlib import Path

import datasets
import pytest

from cxr_max.data import manifest as manifests
from cxr_max.data import physionet
from cxr_max.errors import CheckFailedError, RestrictedDataError, UsageError
from tests.data import handmade

SECTIONS = (
    "Parent projects", "Abstract", "Background", "Methods", "Data description", "Usage notes", "Release notes",
    "Ethics", "Acknowledgements", "Conflicts of interest", "References",
)  # fmt: skip


@pytest.fixture
def release(tmp_path: Path) -> Path:
    path = handmade.write(tmp_path / "release", synthetic=False, version="1.2.0")
    (path / "restricted").mkdir()
    (path / "restricted" / "provenance.parquet").write_bytes(b"PAR1")
    return path


def test_the_bundle(release: Path, tmp_path: Path) -> None:
    place = physionet.bundle(release, tmp_path / "out")
    assert place.name == "mimic-cxr-ext-cxr-max-1.2.0"
    assert "Ext" in (place / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2].splitlines()[0]
    headings = [
        line[3:] for line in (place / "README.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## "
    ]
    assert [h for h in headings if h in SECTIONS] == list(SECTIONS)
    lines = (place / "SHA256SUMS.txt").read_text().splitlines()
    listed = dict(reversed(line.split(" ", 1)) for line in lines)
    files = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    assert set(listed) == files - {"SHA256SUMS.txt"}
    assert [line[65:] for line in lines] == sorted(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((place / name).read_bytes()).hexdigest() == digest
    assert not (place / "restricted").exists()
    assert "1.5.0" in (place / "LICENSE.txt").read_text()
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert (tmp_path / "out" / "RESTRICTED.md").is_file()


def test_sha256sum_accepts_the_sums(release: Path, tmp_path: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum on this machine")
    place = physionet.bundle(release, tmp_path / "out")
    subprocess.run(["sha256sum", "-c", "SHA256SUMS.txt", "--quiet"], cwd=place, check=True)


def test_the_bundle_is_a_release_that_loads(release: Path, tmp_path: Path) -> None:
    place = physionet.bundle(release, tmp_path / "out")
    manifest, original = manifests.read(place), manifests.read(release)
    assert manifest["release_hash"] == original["release_hash"]
    assert manifest["tables"] == original["tables"]
    assert manifests.self_hash(manifest) == manifest[manifests.SELF]
    loaded = datasets.load_dataset(str(place), "preferences", cache_dir=str(tmp_path / "c"))
    assert {s: len(d) for s, d in loaded.items()} == {"train": 6, "validation": 2, "test": 2}


def test_refusals(release: Path, tmp_path: Path) -> None:
    place = physionet.bundle(release, tmp_path / "out")
    with pytest.raises(UsageError, match="exists already"):
        physionet.bundle(release, tmp_path / "out")
    assert physionet.bundle(release, tmp_path / "out", overwrite=True) == place
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    with pytest.raises(RestrictedDataError, match="git"):
        physionet.bundle(release, tmp_path / "repo" / "out")
    (release / "README.md").write_text("edited")
    with pytest.raises(CheckFailedError):
        physionet.bundle(release, tmp_path / "out2")
    assert not list((tmp_path / "out2").glob("*")) if (tmp_path / "out2").exists() else True
