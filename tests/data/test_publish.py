"""Publishing to a real HTTP server that speaks the Hub's API, with faults; what may leave, and what never does."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks import peer_env
from cxr_max.data import index, locate, publish
from cxr_max.data import manifest as manifests
from cxr_max.errors import RestrictedDataError, UsageError
from cxr_max.schema import TABLES
from tests.data import handmade
from tests.hub_server import Fault, Hub, Repo

ROOT = Path(__file__).resolve().parents[2]
REPO = "lab/cxr-max"
STATEMENT = publish.STATEMENT.format(repo=REPO)


WORKER = """
import json, os, sys, time
from cxr_max.errors import CxrMaxError
nap = time.sleep
# Waiting between attempts is the client's; it would only make the tests slow.
time.sleep = lambda seconds: nap(min(seconds, 0.01))
for line in sys.stdin:
    code, env = json.loads(line)
    os.environ.update(env)
    names = {"out": {}}
    try:
        exec(code, names)
        out = names["out"]
    except CxrMaxError as e:
        out = {"error": type(e).__name__, "text": str(e)}
    except BaseException as e:
        out = {"error": "BUG", "text": repr(e)}
    sys.stdout.write("\\n>" + json.dumps(out) + "\\n")
    sys.stdout.flush()
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub and a client process of its own: the endpoint is read when huggingface_hub is imported."""
    home = tmp_path_factory.mktemp("client")
    with Hub(tokens={"token": "lab", "other": "bob"}) as running:
        env = os.environ | running.environment(home / "hf") | {"PYTHONPATH": str(ROOT)}
        with (home / "stderr").open("w") as errors:
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=env,
                cwd=home,
            )
            running.worker, running.home = worker, home  # type: ignore[attr-defined]
            yield running
            worker.communicate(timeout=60)


@pytest.fixture
def hub(served: Hub) -> Hub:
    served.reset()
    return served


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return handmade.write(tmp_path / "release", synthetic=False, version="1.2.0", text="SECRET ")


def client(hub: Hub, folder: Path, code: str, *, token: str = "token", **env: str) -> dict[str, Any]:
    """Run code in the client process; gives what it puts into `out`, or the error's class and text."""
    del folder
    kept = {n: os.environ.get(n, "") for n in ("CXR_MAX_CACHE", "CXR_MAX_CONFIG", "CXR_MAX_TREAT_AS_REAL")}
    worker = hub.worker  # type: ignore[attr-defined]
    worker.stdin.write(json.dumps([code, {**kept, "HF_TOKEN": token, **env}]) + "\n")
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith(">"):
            out: dict[str, Any] = json.loads(line[1:])
            assert out.get("error") != "BUG", out
            return out
    raise AssertionError("the client process ended")


def push(hub: Hub, folder: Path, release: Path, *, token: str = "token", **target: Any) -> dict[str, Any]:
    code = f"""
from dataclasses import asdict
from cxr_max.data.publish import publish, Target
out = asdict(publish({str(release)!r}, Target(**{ ({"repo": REPO} | target)!r})))
"""
    return client(hub, folder, code, token=token)


def everything(hub: Hub) -> bytes:
    return b"".join(hub.blobs.values())


def parquet_text(hub: Hub, repo: str = REPO) -> str:
    tree = hub.repos[repo].tree("main")
    assert tree is not None
    frames = [pl.read_parquet(hub.blobs[sha]) for name, sha in tree[1].items() if name.endswith(".parquet")]
    return json.dumps([f.to_dicts() for f in frames], default=str)


def test_the_index_holds_no_derived_column(release: Path, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    made = index.write(locate.read(release), tmp_path / "index")
    assert made["class"] == "index"
    assert set(made["tables"]) == {"instances", "trajectories"}
    for name in made["tables"]:
        frame = pl.read_parquet(tmp_path / "index" / name / "*.parquet")
        assert set(frame.columns) == set(TABLES[name].of_class("index"))
        assert len(frame) == manifests.read(release)["tables"][name]["rows"]
    for file in (tmp_path / "index").rglob("*"):
        if file.is_file():
            assert b"SECRET" not in file.read_bytes()
            assert b"Pneumonia" not in file.read_bytes()
    again = tmp_path / "again"
    again.mkdir()
    index.write(locate.read(release), again)
    assert [p.read_bytes() for p in sorted(again.rglob("*.*"))] == [
        p.read_bytes() for p in sorted((tmp_path / "index").rglob("*.*"))
    ]


def test_a_push_alone_sends_the_index_only_and_it_loads(hub: Hub, release: Path, tmp_path: Path) -> None:
    done = push(hub, tmp_path, release, public=True)
    assert (done["tag"], done["data_class"], done["already"]) == ("v1.2.0", "index", False)
    assert "SECRET" not in parquet_text(hub)
    assert "diagnosed" not in parquet_text(hub)
    assert b"SECRET" not in everything(hub)
    repo = hub.repos[REPO]
    assert repo.tags == {"v1.2.0": done["commit"]}
    assert not repo.private
    loaded = client(
        hub,
        tmp_path,
        f"""
import datasets, cxr_max
from huggingface_hub import snapshot_download
ds = datasets.load_dataset({REPO!r}, "trajectories", revision="v1.2.0")
out["plain"] = [len(ds), len(ds["train"]), ds["train"].column_names]
st = datasets.load_dataset({REPO!r}, "instances", revision="v1.2.0", streaming=True, split="validation")
out["stream"] = len(list(st))
ours = cxr_max.load_dataset("instances", release="{REPO}@v1.2.0", split="val")
out["ours"] = [len(ours), ours.info.version.description.split(" from ")[1]]
hooked = datasets.load_dataset("cxr-max", "instances", release={REPO!r}, revision="v1.2.0", split="train")
out["hooked"] = len(hooked)
whole = snapshot_download({REPO!r}, repo_type="dataset", revision="v1.2.0", local_dir={str(tmp_path / "whole")!r})
out["snapshot"] = cxr_max.open_release(whole).verify().ok
""",
        token="other",
    )
    assert loaded["plain"][:2] == [3, 42]
    assert "trajectory" not in loaded["plain"][2]
    assert loaded["stream"] == 2
    assert loaded["ours"] == [2, f"{REPO}@v1.2.0"]
    assert loaded["hooked"] == 6
    assert loaded["snapshot"]


def test_a_second_push_changes_nothing_and_another_content_is_refused(hub: Hub, release: Path, tmp_path: Path) -> None:
    first = push(hub, tmp_path, release)
    commits = len(hub.repos[REPO].commits)
    again = push(hub, tmp_path, release)
    assert again == first | {"already": True}
    other = handmade.write(tmp_path / "other", synthetic=False, version="1.2.0", text="changed ")
    refused = push(hub, tmp_path, other)
    assert refused["error"] == "CheckFailedError"
    assert "never overwritten" in refused["text"]
    assert len(hub.repos[REPO].commits) == commits
    newer = handmade.write(tmp_path / "newer", synthetic=False, version="1.3.0", instances=2)
    done = push(hub, tmp_path, newer)
    assert set(hub.repos[REPO].tags) == {"v1.2.0", "v1.3.0"}
    tree = hub.repos[REPO].tree("v1.3.0")
    assert tree is not None
    assert tree[0] == done["commit"]
    assert not [n for n in tree[1] if "validation" in n], "shards of the older version stayed"
    old = hub.repos[REPO].tree("v1.2.0")
    assert old is not None
    assert [n for n in old[1] if "validation" in n]


def test_derived_needs_a_private_gated_repository_and_the_statement(hub: Hub, release: Path, tmp_path: Path) -> None:
    for wrong in (None, "yes", STATEMENT.replace("every", "nearly every"), STATEMENT.lower()):
        refused = push(hub, tmp_path, release, data_class="derived", statement=wrong)
        assert refused["error"] == "RestrictedDataError"
    assert not hub.repos, "nothing was made before the statement"
    done = push(hub, tmp_path, release, data_class="derived", statement=STATEMENT)
    repo = hub.repos[REPO]
    assert (repo.private, repo.gated, done["data_class"]) == (True, "manual", "derived")
    kept = json.loads(hub.file(REPO, "manifest.json", "v1.2.0"))["publication"]
    assert kept["statement"] == STATEMENT
    assert (kept["by"], kept["repo"], kept["class"]) == ("lab", REPO, "derived")
    assert "SECRET" in parquet_text(hub)
    assert push(hub, tmp_path, release, data_class="derived", statement=STATEMENT)["already"]


def test_derived_and_public_is_refused_whatever_is_passed(hub: Hub, release: Path, tmp_path: Path) -> None:
    refused = push(hub, tmp_path, release, data_class="derived", statement=STATEMENT, public=True)
    assert refused["error"] == "RestrictedDataError"
    hub.repos[REPO] = Repo(private=False, owner="lab")
    refused = push(hub, tmp_path, release, data_class="derived", statement=STATEMENT)
    assert refused["error"] == "RestrictedDataError"
    assert "no option changes that" in refused["text"]
    assert b"SECRET" not in everything(hub)
    assert hub.repos[REPO].gated is False
    assert not [path for _, path in hub.log if "preupload" in path or path.startswith("/lfs")]


def test_a_repository_opened_while_the_push_ran_gets_no_version(
    hub: Hub, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.hub_server import _Handler

    commit = _Handler.commit

    def opened(self: Any, body: bytes, repo: str, revision: str) -> None:
        commit(self, body, repo, revision)
        self.hub.repos[repo].gated = "auto"

    monkeypatch.setattr(
        "tests.hub_server._ROUTES",
        tuple((m, p, opened if a is commit else a) for m, p, a in __import__("tests.hub_server").hub_server._ROUTES),
    )
    refused = push(hub, tmp_path, release, data_class="derived", statement=STATEMENT)
    assert refused["error"] == "RestrictedDataError"
    assert "at once" in refused["text"]
    assert not hub.repos[REPO].tags


def test_kinds_do_not_mix_in_one_repository(hub: Hub, release: Path, tmp_path: Path) -> None:
    push(hub, tmp_path, release, data_class="derived", statement=STATEMENT)
    newer = handmade.write(tmp_path / "newer", synthetic=False, version="1.3.0")
    refused = push(hub, tmp_path, newer)
    assert refused["error"] == "RestrictedDataError"
    assert "another kind" in refused["text"]
    fake = handmade.write(tmp_path / "fake", synthetic=True, version="2.0.0")
    assert push(hub, tmp_path, fake, data_class="derived")["error"] == "RestrictedDataError"


def test_synthetic_releases_go_anywhere_unless_treated_as_real(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = handmade.write(tmp_path / "s", version="0.0.0+synthetic.7", text="simulated ")
    done = push(hub, tmp_path, path, data_class="derived", public=True)
    assert done["tag"] == "v0.0.0+synthetic.7"
    assert "simulated" in parquet_text(hub)
    monkeypatch.setenv("CXR_MAX_TREAT_AS_REAL", "1")
    refused = push(hub, tmp_path, path, data_class="derived", public=True, repo="lab/real")
    assert refused["error"] == "RestrictedDataError"


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("PUT", "/lfs/", 500, times=2)],
        [Fault("PUT", "/lfs/", "drop", times=1, after=1)],
        [Fault("POST", "/commit/", 500, times=2)],
        [Fault("POST", "/commit/", "drop")],
        [Fault("POST", "/preupload/", 503)],
        [Fault("POST", "/tag/", 500)],
        [Fault("GET", "/refs", 502), Fault("POST", "/repos/create", 500)],
    ],
    ids=["500-in-upload", "dropped-in-mid-upload", "500-in-commit", "dropped-commit", "503", "500-in-tag", "reads"],
)
def test_faults_of_server_and_line_are_survived(hub: Hub, release: Path, tmp_path: Path, faults: list[Fault]) -> None:
    hub.faults += faults
    done = push(hub, tmp_path, release)
    assert done.get("tag") == "v1.2.0", done
    assert all(f.times == 0 for f in faults), "the fault was not met"
    tree = hub.repos[REPO].tree("v1.2.0")
    assert tree is not None
    names = json.loads(hub.file(REPO, "manifest.json", "v1.2.0"))["files"]
    assert set(tree[1]) == {*names, "manifest.json"}
    for name, entry in names.items():
        assert len(hub.file(REPO, name)) == entry["bytes"]


def test_a_push_that_gave_up_goes_on_where_it_stopped(hub: Hub, release: Path, tmp_path: Path) -> None:
    hub.faults.append(Fault("PUT", "/lfs/", 500, times=1000, after=2))
    stopped = push(hub, tmp_path, release)
    assert stopped["error"] == "DataError"
    assert "kept" in stopped["text"]
    assert not hub.repos[REPO].tags
    assert len(hub.repos[REPO].commits) == 1, "no half of a version is visible"
    sent = set(hub.blobs)
    assert sent
    hub.faults.clear()
    hub.log.clear()
    assert push(hub, tmp_path, release)["tag"] == "v1.2.0"
    assert not [path for method, path in hub.log if method == "PUT" and path.removeprefix("/lfs/") in sent]


@pytest.mark.parametrize(("token", "said"), [("wrong", "does not know you"), ("other", "403")], ids=["401", "403"])
def test_refusals_are_said_plainly_and_not_retried(
    hub: Hub, release: Path, tmp_path: Path, token: str, said: str
) -> None:
    hub.repos[REPO] = Repo(private=False, owner="lab")
    refused = push(hub, tmp_path, release, token=token)
    assert refused["error"] == "RestrictedDataError"
    assert said in refused["text"]
    assert token not in refused["text"]
    assert len(hub.log) < 8


LOAD = """
import cxr_max
ds = cxr_max.load_dataset("instances", release="{release}", split="train")
out = dict(rows=len(ds))
"""


def test_loading_from_gated_private_missing_and_faulty_repositories(hub: Hub, release: Path, tmp_path: Path) -> None:
    push(hub, tmp_path, release, data_class="derived", statement=STATEMENT)
    code = LOAD.format(release=f"{REPO}@v1.2.0")
    assert client(hub, tmp_path, code) == {"rows": 6}
    (tmp_path / "b").mkdir()
    nobody = {"CXR_MAX_CACHE": str(tmp_path / "b" / "cache")}
    assert client(hub, tmp_path / "b", code, token="other", **nobody)["error"] == "MissingFileError"
    hub.repos[REPO].private = False
    gated = client(hub, tmp_path / "b", code, token="other", **nobody)
    assert gated["error"] == "RestrictedDataError"
    assert "gated" in gated["text"]
    hub.repos[REPO].members.add("bob")
    hub.faults += [Fault("GET", "/resolve/.*parquet", "drop"), Fault("GET", "/resolve/.*manifest", 500)]
    assert client(hub, tmp_path / "b", code, token="other", **nobody) == {"rows": 6}
    wrong = client(hub, tmp_path, LOAD.format(release=f"{REPO}@v9.9.9"))
    assert wrong["error"] == "MissingFileError"
    assert "v9.9.9" in wrong["text"]


def test_fetched_files_lie_in_the_private_cache_and_load_again_when_the_hub_is_away(
    hub: Hub, release: Path, tmp_path: Path, own_folders: Path
) -> None:
    push(hub, tmp_path, release, data_class="derived", statement=STATEMENT)
    shared = set((hub.home / "hf").rglob("*.parquet"))  # type: ignore[attr-defined]
    code = LOAD.format(release=f"{REPO}@v1.2.0")
    assert client(hub, tmp_path, code) == {"rows": 6}
    kept = own_folders / "cache" / "releases"
    assert kept.stat().st_mode & 0o077 == 0
    assert list(kept.rglob("instances/train-*.parquet"))
    assert set((hub.home / "hf").rglob("*.parquet")) == shared  # type: ignore[attr-defined]
    hub.faults.append(Fault("*", "", 503, times=10_000))
    assert client(hub, tmp_path, code) == {"rows": 6}
    assert client(hub, tmp_path, LOAD.format(release=REPO))["error"] == "DataError"
    hub.faults.clear()
    victim = next(kept.rglob("instances/train-*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    assert client(hub, tmp_path, code)["error"] == "DataError"


def test_wrong_use(release: Path) -> None:
    for target in (publish.Target("no-slash"), publish.Target("a/b", data_class="source")):
        with pytest.raises(UsageError):
            publish.publish(release, target)
    with pytest.raises(RestrictedDataError, match="may not be public"):
        publish.publish(release, publish.Target("a/b", data_class="derived", public=True, statement="x"))


def test_only_what_the_manifest_lists_is_sent_and_only_when_it_verifies(
    hub: Hub, release: Path, tmp_path: Path
) -> None:
    (release / "restricted").mkdir()
    (release / "restricted" / "rejected.jsonl").write_text("SECRET")
    push(hub, tmp_path, release, data_class="derived", statement=STATEMENT)
    tree = hub.repos[REPO].tree("main")
    assert tree is not None
    assert set(tree[1]) == {*manifests.read(release)["files"], "manifest.json"}
    newer = handmade.write(tmp_path / "newer", synthetic=False, version="1.3.0")
    (newer / "README.md").write_text("edited")
    refused = push(hub, tmp_path, newer, data_class="derived", statement=STATEMENT)
    assert refused["error"] == "CheckFailedError"
    assert "README.md" in refused["text"]
    assert set(hub.repos[REPO].tags) == {"v1.2.0"}


@pytest.mark.parametrize("lie", ["class", "synthetic", "rejected", "provenance", "script"])
def test_a_manifest_that_lies_gets_nothing_out(hub: Hub, release: Path, tmp_path: Path, lie: str) -> None:
    made = manifests.read(release)
    if lie == "class":
        made["class"] = "index"
        made["tables"] = {n: made["tables"][n] for n in index.TABLES}
        made["files"] = {n: e for n, e in made["files"].items() if n.split("/")[0] in (*index.TABLES, "README.md")}
    if lie == "synthetic":
        made["synthetic"] = True
    if lie in ("rejected", "provenance", "script"):
        name = {
            "rejected": "restricted/rejected.jsonl",
            "provenance": "provenance/train-00000-of-00001.parquet",
            "script": "cxr-max.py",
        }[lie]
        (release / name).parent.mkdir(exist_ok=True)
        (release / name).write_bytes(b"SECRET")
        made["files"][name] = {"rows": 1, "bytes": 6, "sha256": hashlib.sha256(b"SECRET").hexdigest()}
    manifests.write(release, made)
    refused = push(hub, tmp_path, release, public=True, data_class="derived" if lie == "synthetic" else "index")
    assert refused["error"] in ("RestrictedDataError", "CheckFailedError")
    assert b"SECRET" not in everything(hub)
    assert not hub.repos


def test_without_us_the_full_release_loads_from_the_hub_by_its_version(hub: Hub, release: Path, tmp_path: Path) -> None:
    lowest = peer_env.python_of("datasets36")
    if lowest is None:
        pytest.skip(f"needs `{peer_env.command('datasets36')}`")
    push(hub, tmp_path, release, data_class="derived", statement=STATEMENT)
    newer = handmade.write(tmp_path / "newer", synthetic=False, version="1.3.0", instances=2)
    push(hub, tmp_path, newer, data_class="derived", statement=STATEMENT)
    code = f"""
import sys
sys.modules["cxr_max"] = None
from datasets import load_dataset
old = load_dataset({REPO!r}, "preferences", revision="v1.2.0")
print({{s: len(d) for s, d in old.items()}}, old["train"][0]["rejected"][0]["teacher"])
print(len(load_dataset({REPO!r}, split="train", revision="v1.3.0")))
print(len(list(load_dataset({REPO!r}, "instances", split="train", revision="v1.2.0", streaming=True))))
"""
    env = os.environ | hub.environment(tmp_path / "hf")
    done = subprocess.run([str(lowest), "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [
        "{'train': 6, 'validation': 2, 'test': 2} gemini-2.5",
        "14",
        "6",
    ]
