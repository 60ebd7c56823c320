"""From a release over PhysioNet to a join: everything the release needs is fetched, and matches."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxr_max import data, mimic, synth
from cxr_max.cli import application
from cxr_max.mimic import agreement
from tests.mimic import physionet
from tests.mimic.physionet import PASSWORD, PROJECT, USER, PhysioNet

pytestmark = pytest.mark.skipif(shutil.which("wget") is None, reason="wget is not installed")


def test_a_fetched_root_joins_completely(tmp_path: Path) -> None:
    world, folder = tmp_path / "world", tmp_path / "release"
    synth.write_world(synth.WorldConfig(subjects=2, images=True, size=64, seed=2), world)
    runner = CliRunner()
    line = ["build", str(world / "raw"), "--out", str(folder), "--no-findings", "--jobs", "1"]
    built = runner.invoke(application(), line)
    assert built.exit_code == 0, built.output
    files = {p.relative_to(world / "mimic").as_posix(): p for p in (world / "mimic").rglob("*") if p.is_file()}
    site = PhysioNet({PROJECT + name: p.read_bytes() for name, p in files.items()})
    site.files |= {PROJECT.replace("-jpg", "") + name: p.read_bytes() for name, p in files.items()}
    agreement.confirm(USER)
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    root = tmp_path / "root"
    with physionet.serve(site, tmp_path) as served:
        options = [
            "--to", str(root), "--user", USER, "--password-file", str(password), "--server", served.url,
            "--ca-certificate", str(served.certificate),
        ]  # fmt: skip
        for kind in ("tables", "jpg", "reports"):
            done = runner.invoke(application(), ["mimic", "fetch", str(folder), "--for", kind, *options])
            assert done.exit_code == 0, done.output
    opened = mimic.open_root(root)
    assert opened.layout.versions == {"mimic-cxr-jpg": "2.1.0", "mimic-cxr": "2.1.0"}
    release = data.open_release(folder)
    joined = mimic.join(release, opened, options=mimic.Options(verify=True))
    rows = joined.matched.instances
    assert rows.height == release.scan("instances").collect().height
    assert set(rows["image_status"]) == {"matched"}
    assert set(rows["report_status"]) == {"present"}
    # Nothing but what the release names: its images, their reports, five tables and two lists of hashes.
    fetched = [p for p in root.rglob("*") if p.is_file() and ".cxr-max-fetch" not in p.parts]
    studies = rows["study_id"].n_unique()
    assert len(fetched) == rows.height + studies + 5 + 2
