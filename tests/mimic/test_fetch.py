"""The real wget against a server that behaves like PhysioNet: whole, verified, and nothing told."""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

import cxr_max.data
from cxr_max.cli import application
from cxr_max.errors import CheckFailedError, DataError, RestrictedDataError, UnknownNameError, UsageError
from cxr_max.mimic import agreement
from cxr_max.mimic.fetch import STAGE, FetchReport, Patience, fetch
from cxr_max.mimic.wanted import TABLES, Wanted, wanted
from cxr_max.mimic.wget import Login, Wget, ask_program, check_login, read_password
from tests.mimic import physionet
from tests.mimic.physionet import PASSWORD, PROJECT, USER, PhysioNet

pytestmark = pytest.mark.skipif(shutil.which("wget") is None, reason="wget is not installed")
QUICK = Patience(stalls=6, pause=0.02, longest=0.1)


@dataclass
class Small:
    """Anything with `.scan("instances")` is a release here."""

    frame: pl.DataFrame
    manifest: dict[str, Any]

    def scan(self, table: str) -> pl.LazyFrame:
        assert table == "instances"
        return self.frame.lazy()


def release(n: int) -> Small:
    rows = {
        "instance_id": [f"{i:08x}-" * 4 + f"{i:08x}" for i in range(n)],
        "subject_id": [10_000_000 + 1_000_003 * (i % 4) for i in range(n)],
        "study_id": [50_000_000 + i // 2 for i in range(n)],
    }
    frame = pl.DataFrame(rows).cast({"subject_id": pl.Int32, "study_id": pl.Int32})
    return Small(frame.with_columns(dicom_ids=pl.concat_list("instance_id")), {})


def contents(files: Wanted, size: int = 20_000, seed: int = 0) -> dict[str, bytes]:
    rng = random.Random(seed)
    return {PROJECT + path: rng.randbytes(rng.randint(1, size)) for path in files.paths}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[PhysioNet]:
    files = wanted(release(12))
    made = PhysioNet(contents(files) | {PROJECT + "files/p10/unneeded.jpg": b"x"})
    made.add_sums()
    agreement.confirm(USER)
    with physionet.serve(made, tmp_path) as running:
        yield running


def run(site: PhysioNet, root: Path, n: int = 12, **options: Any) -> FetchReport:
    wget = Wget(options.pop("login", Login(USER, PASSWORD)), ca_certificate=site.certificate, timeout=5)
    return fetch(wanted(release(n)), root, wget, server=site.url, patience=options.pop("patience", QUICK), **options)


def whole(site: PhysioNet, root: Path, n: int = 12) -> bool:
    return all(
        (root / "mimic-cxr-jpg/2.1.0" / path).read_bytes() == site.files[PROJECT + path]
        for path in wanted(release(n)).paths
    )


def finals(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.is_file() and STAGE not in p.parts and p.name != "SHA256SUMS.txt"]


def test_paths_sizes_and_command() -> None:
    frame = pl.DataFrame(
        {"subject_id": [19000001, 10000002, 10000002], "study_id": [5, 6, 6], "dicom_ids": [["b", "c"], ["a"], ["a"]]}
    )
    files = wanted(Small(frame, {}), "jpg")
    assert files.paths == (
        "files/p10/p10000002/s6/a.jpg", "files/p19/p19000001/s5/b.jpg", "files/p19/p19000001/s5/c.jpg",
    )  # fmt: skip
    assert 4e6 < files.bytes < 5e6
    assert files.command("list.txt") == (
        "wget -r -N -c -np -nH --cut-dirs=1 --user USERNAME --ask-password -i list.txt "
        "--base=https://physionet.org/files/mimic-cxr-jpg/2.1.0/"
    )
    assert wanted(Small(frame, {}), "dicom").paths[0] == "files/p10/p10000002/s6/a.dcm"
    assert wanted(Small(frame, {}), "dicom").folder == "mimic-cxr/2.1.0"
    assert wanted(Small(frame, {}), "reports").paths == ("files/p10/p10000002/s6.txt", "files/p19/p19000001/s5.txt")
    assert wanted(Small(frame, {}), "tables").paths == tuple(TABLES)
    with pytest.raises(UnknownNameError, match="jpg"):
        wanted(Small(frame, {}), "png")


def test_exactly_what_is_needed_arrives(site: PhysioNet, tmp_path: Path) -> None:
    seen = []
    report = run(site, tmp_path / "root", watch=seen.append)
    assert report.ok
    assert (report.wanted, report.verified, report.fetched) == (12, 12, 12)
    assert report.bytes == sum(len(site.files[PROJECT + p]) for p in wanted(release(12)).paths)
    assert whole(site, tmp_path / "root")
    assert len(finals(tmp_path / "root")) == 12
    assert stat.S_IMODE((tmp_path / "root").stat().st_mode) == 0o700
    assert [s.files for s in seen] == sorted(s.files for s in seen)
    assert (seen[-1].files, seen[-1].of_files) == (12, 12)
    assert seen[-1].rate > 0
    assert {agent.partition("/")[0] for *_, agent in site.requests if agent} == {"Wget"}
    journal = (tmp_path / "root" / STAGE / "journal.jsonl").read_text().splitlines()
    assert len(journal) == 12


def test_a_second_run_asks_for_nothing(site: PhysioNet, tmp_path: Path) -> None:
    run(site, tmp_path / "root")
    site.requests.clear()
    report = run(site, tmp_path / "root")
    assert (report.ok, report.fetched) == (True, 0)
    assert site.requests == []
    # Without a journal the files are hashed; one with other bytes comes again.
    (tmp_path / "root" / STAGE / "journal.jsonl").unlink()
    finals(tmp_path / "root")[3].write_bytes(b"damaged")
    report = run(site, tmp_path / "root")
    assert (report.ok, report.fetched) == (True, 1)
    assert whole(site, tmp_path / "root")


def test_a_bad_day_of_the_server(site: PhysioNet, tmp_path: Path) -> None:
    paths = sorted(p for p in site.files if p.endswith(".jpg") and "unneeded" not in p)
    site.busy.update({paths[0]: 2, paths[1]: 1, PROJECT + "SHA256SUMS.txt": 1})
    site.drops.update({paths[2]: 5, paths[3]: 1, PROJECT + "SHA256SUMS.txt": 1})
    site.wrong.update({paths[4]: 1, paths[5]: 2})
    report = run(site, tmp_path / "root")
    assert report.ok
    assert whole(site, tmp_path / "root")
    assert 206 in [status for *_, status, _ in site.requests]


def test_a_server_without_ranges(site: PhysioNet, tmp_path: Path) -> None:
    site.ranges = False
    path = min(p for p in site.files if p.endswith(".jpg"))
    site.drops[path] = 2
    assert run(site, tmp_path / "root").ok
    assert whole(site, tmp_path / "root")


def test_what_is_missing_is_told_with_its_reason(site: PhysioNet, tmp_path: Path) -> None:
    paths = sorted(p for p in site.files if p.endswith(".jpg") and "unneeded" not in p)
    site.add_sums(leave_out=(paths[0],))
    site.forbidden.add(paths[1])
    del site.files[paths[2]]
    site.wrong[paths[3]] = 99
    site.busy[paths[4]] = 10_000
    report = run(site, tmp_path / "root")
    assert not report.ok
    assert report.verified == 7
    assert report.missing == {
        "not in the server's SHA256SUMS.txt": 1,
        "the server forbids it (403)": 1,
        "the server has no such file (404)": 1,
        "wrong bytes, 3 times": 1,
        "the server did not answer": 1,
    }
    assert report.missing_list is not None
    assert len(report.missing_list.read_text().splitlines()) == 5
    assert len(finals(tmp_path / "root")) == 7
    # What the server mends comes with the same call, and the list goes.
    site.wrong.clear()
    site.busy.clear()
    site.forbidden.clear()
    site.files |= contents(wanted(release(12)))
    site.add_sums()
    (tmp_path / "root/mimic-cxr-jpg/2.1.0/SHA256SUMS.txt").unlink()
    assert run(site, tmp_path / "root").ok
    assert not report.missing_list.exists()


def test_a_wrong_password_is_tried_once(site: PhysioNet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="refuses"):
        run(site, tmp_path / "root", login=Login(USER, "guess"))
    assert len(site.requests) <= 2
    assert finals(tmp_path / "root") == []


def test_an_account_without_access(site: PhysioNet, tmp_path: Path) -> None:
    site.forbidden.add(PROJECT + "SHA256SUMS.txt")
    with pytest.raises(RestrictedDataError, match="sign the agreement"):
        run(site, tmp_path / "root")


def test_a_server_that_never_answers(site: PhysioNet, tmp_path: Path) -> None:
    site.closed = True
    with pytest.raises(CheckFailedError, match="SHA256SUMS"):
        run(site, tmp_path / "root", patience=Patience(stalls=2, pause=0.01))
    nobody = replace(site, url="https://127.0.0.1:9")
    with pytest.raises(CheckFailedError):
        run(nobody, tmp_path / "root", patience=Patience(stalls=1, pause=0.01))


def test_a_malformed_list_of_hashes(site: PhysioNet, tmp_path: Path) -> None:
    site.files[PROJECT + "SHA256SUMS.txt"] = b"<html>please log in</html>\n"
    with pytest.raises(DataError, match="malformed"):
        run(site, tmp_path / "root")


def test_an_untrusted_certificate(site: PhysioNet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not trusted"):
        fetch(wanted(release(2)), tmp_path / "root", Wget(Login(USER, PASSWORD)), server=site.url, patience=QUICK)
    assert site.requests == []


def test_nothing_over_plain_http_or_into_a_git_work_tree(site: PhysioNet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="https"):
        fetch(wanted(release(2)), tmp_path, Wget(Login(USER, PASSWORD)), server=site.url.replace("https", "http"))
    (tmp_path / ".git").mkdir()
    with pytest.raises(RestrictedDataError, match="git"):
        run(site, tmp_path / "root")


def test_nothing_before_the_agreement_is_confirmed(site: PhysioNet, tmp_path: Path, own_folders: Path) -> None:
    stored = own_folders / "config" / "agreement.json"
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    stored.unlink()
    with pytest.raises(UsageError, match="confirmed"):
        run(site, tmp_path / "root")
    stored.write_text("not json")
    with pytest.raises(UsageError, match="confirmed"):
        run(site, tmp_path / "root")
    agreement.confirm("somebody else")
    with pytest.raises(UsageError, match="confirmed"):
        run(site, tmp_path / "root")
    assert site.requests == []
    assert not (tmp_path / "root").exists()


def test_two_at_once_are_refused(site: PhysioNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_max.mimic.fetch._LOCK_SECONDS", 0.3)
    site.rate = 40_000
    done = []
    worker = threading.Thread(target=lambda: done.append(run(site, tmp_path / "root")))
    worker.start()
    while not (tmp_path / "root" / STAGE / "lock").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    with pytest.raises(UsageError, match="another fetch"):
        run(site, tmp_path / "root")
    site.rate = None
    worker.join()
    assert done[0].ok


def test_passwords_that_wget_cannot_read_are_refused(tmp_path: Path) -> None:
    for bad in (" x", "x ", "a\nb", "", "a\x00"):
        with pytest.raises(UsageError, match="cannot hold"):
            check_login(Login(USER, bad))
    assert PASSWORD not in repr(Login(USER, PASSWORD))
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\nmore\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_password(file)
    file.chmod(0o600)
    assert read_password(file) == PASSWORD
    with pytest.raises(UsageError):
        read_password(tmp_path / "none")


def test_the_password_comes_from_a_helper_program(site: PhysioNet, tmp_path: Path) -> None:
    helper = tmp_path / "askpass"
    helper.write_text(f"#!/bin/sh\necho \"$1\" >> {tmp_path}/asked\necho '{PASSWORD}'\n")
    helper.chmod(0o700)
    given = ask_program(str(helper), USER, site.url)
    assert run(site, tmp_path / "root", login=Login(USER, given)).ok
    assert (tmp_path / "asked").read_text() == f"Password for '{site.url.replace('//', f'//{USER}@')}': \n"
    with pytest.raises(UsageError, match="gave no password"):
        ask_program("/bin/false", USER, site.url)


# ---- as a process of its own, looked at and killed while it runs

PROGRAM = """
import sys
from tests.mimic.test_fetch import release
import cxr_max.data
cxr_max.data.open_release = lambda path: release(int(path.name))
from cxr_max.cli import main
sys.argv[0] = "cxr-max"
main()
"""


def start(site: PhysioNet, tmp_path: Path, n: int, *more: str) -> "subprocess.Popen[str]":
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    return subprocess.Popen(
        [
            sys.executable, "-c", PROGRAM, "mimic", "fetch", str(n), "--to", str(tmp_path / "root"), "--user", USER,
            "--password-file", str(password), "--server", site.url, "--ca-certificate", str(site.certificate), *more,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def child_wget(pid: int, within: float = 20) -> int:
    """The wget that a process has started; 0 when it ends first."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in children:
                if Path(f"/proc/{child}/comm").read_text().strip() == "wget":
                    return int(child)
        except FileNotFoundError:
            pass
        if not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return 0
        time.sleep(0.005)
    return 0


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@on_linux
def test_the_password_is_in_no_argument_variable_or_file(site: PhysioNet, tmp_path: Path) -> None:
    site.rate = 60_000
    process = start(site, tmp_path, 12)
    wget = child_wget(process.pid)
    assert wget
    proc = Path(f"/proc/{wget}")
    while b"wget" not in (arguments := (proc / "cmdline").read_bytes()):
        time.sleep(0.005)
    for pid in (wget, process.pid):
        for told in ("cmdline", "environ"):
            assert PASSWORD.encode() not in Path(f"/proc/{pid}/{told}").read_bytes()
            assert b"tardis" not in Path(f"/proc/{pid}/{told}").read_bytes()
    number = arguments.partition(b"--config=/dev/fd/")[2].partition(b"\0")[0].decode()
    config = proc / "fd" / number
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert PASSWORD in config.read_text()
    assert config.readlink().name.endswith("(deleted)")
    named = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "password"]
    assert not any(b"tardis" in p.read_bytes() for p in named)
    site.rate = None
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "tardis" not in output
    assert "12 of 12 jpg files" in output


def killed_at_random(site: PhysioNet, tmp_path: Path, n: int, kills: int) -> None:
    files = wanted(release(n))
    site.files |= contents(files, size=60_000, seed=1)
    site.add_sums()
    paths = [PROJECT + p for p in files.paths]
    site.drops.update(dict.fromkeys(paths[::7], 1))
    site.busy.update(dict.fromkeys(paths[::11], 1))
    site.wrong.update(dict.fromkeys(paths[::13], 1))
    site.rate = 3_000_000
    rng = random.Random(3)
    done = 0
    while done < kills:
        process = start(site, tmp_path, n)
        wget = child_wget(process.pid)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        process.communicate(timeout=30)
        done += 1
        if wget:
            deadline = time.monotonic() + 5
            while Path(f"/proc/{wget}").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not Path(f"/proc/{wget}").exists(), "wget outlived its parent"
        root = tmp_path / "root" / "mimic-cxr-jpg" / "2.1.0"
        for path in finals(tmp_path / "root"):
            assert path.read_bytes() == site.files[PROJECT + path.relative_to(root).as_posix()]
        left = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "password"]
        assert not any(b"tardis" in p.read_bytes() for p in left)
        site.rate = site.rate and site.rate * 1.05
    site.rate = None
    process = start(site, tmp_path, n)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert whole(site, tmp_path / "root", n)
    assert len(finals(tmp_path / "root")) == n


@on_linux
def test_killed_at_random_and_started_again(site: PhysioNet, tmp_path: Path) -> None:
    killed_at_random(site, tmp_path, n=60, kills=3)


@on_linux
@pytest.mark.slow
def test_killed_many_times(site: PhysioNet, tmp_path: Path) -> None:
    killed_at_random(site, tmp_path, n=800, kills=40)


def test_the_command_line_asks_once(
    site: PhysioNet, tmp_path: Path, own_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_folders / "config" / "agreement.json").unlink()
    monkeypatch.setitem(vars(cxr_max.data), "open_release", lambda path: release(5))
    monkeypatch.setenv("CXR_MAX_CA_CERTIFICATE", str(site.certificate))
    line = ["mimic", "fetch", "x", "--to", str(tmp_path / "root"), "--user", USER, "--server", site.url]
    runner = CliRunner()
    refused = runner.invoke(application(), line, input=f"n\n{PASSWORD}\n")
    assert refused.exit_code == 2
    assert "identify no patient" in refused.output
    assert site.requests == []
    asked = runner.invoke(application(), line, input=f"y\n{PASSWORD}\n")
    assert asked.exit_code == 0, asked.output
    assert "5 of 5 jpg files" in asked.output
    assert PASSWORD not in asked.output
    del site.files[next(p for p in site.files if p.endswith("00000007.jpg"))]
    monkeypatch.setitem(vars(cxr_max.data), "open_release", lambda path: release(9))
    again = runner.invoke(application(), [*line, "--json"], input=f"{PASSWORD}\n")
    assert again.exit_code == 1
    assert "identify no patient" not in again.output
    said = json.loads(again.stdout[again.stdout.index("{") :])
    assert (said["verified"], said["missing"]) == (8, {"the server has no such file (404)": 1})


def test_the_list_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(cxr_max.data), "open_release", lambda path: release(3))
    runner = CliRunner()
    shown = runner.invoke(application(), ["mimic", "fetch-list", "x", "--for", "dicom"])
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0].endswith(".dcm")
    assert "--base=https://physionet.org/files/mimic-cxr/2.1.0/" in shown.output
    file = tmp_path / "paths.txt"
    said = runner.invoke(application(), ["mimic", "fetch-list", "x", "--out", str(file), "--json"])
    assert json.loads(said.stdout)["files"] == 3
    assert len(file.read_text().splitlines()) == 3
