"""`datasets.load_dataset("cxr-max")` after `import cxr_max`: any order, any folder, spawned workers, on and off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import peer_env
from cxr_max import hook
from tests.data import handmade

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "loading_script" / "cxr-max.py"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.write(tmp_path_factory.mktemp("release") / "cxr-max", instances=1300, row_group=512)


def pythons() -> list[object]:
    lowest = peer_env.python_of("datasets36")
    skip = pytest.mark.skipif(lowest is None, reason=f"needs `{peer_env.command('datasets36')}`")
    return [pytest.param(sys.executable, id="newest"), pytest.param(str(lowest), id="datasets-3.6", marks=skip)]


def run(python: str, code: str, folder: Path, **environment: str) -> str:
    (folder / "script.py").write_text(code)
    env = os.environ | {
        "PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "HOME": str(folder),
        "CXR_MAX_CACHE": str(folder / "cache"), **environment,
    }  # fmt: skip
    done = subprocess.run(
        [python, str(folder / "script.py")], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


ONE_LINE = """
import cxr_max, sys
assert "datasets" not in sys.modules and "polars" not in sys.modules
from datasets import load_dataset
"""


@pytest.mark.parametrize("python", pythons())
def test_the_one_line_in_every_form(python: str, release: Path, tmp_path: Path) -> None:
    out = run(
        python,
        ONE_LINE
        + f"""
R = {str(release)!r}
ds = load_dataset("cxr-max", release=R)
print(list(ds), len(ds["train"]), ds["train"].info.version.description)
print(len(load_dataset("cxr-max", "instances", split="validate", release=R)))
print(len(load_dataset("cxr-max", name="preferences", split="dev[:10]", release=R)))
stream = load_dataset("cxr-max", "preferences", split="val", streaming=True, release=R)
print(type(stream).__name__, next(iter(stream))["rejected"][0]["teacher"])
two = load_dataset("cxr-max", "steps", split="train", num_proc=2, release=R)
print(len(two), two[0]["step"])
from datasets import get_dataset_config_names, get_dataset_split_names, load_dataset_builder
print(get_dataset_config_names("cxr-max"))
print(load_dataset_builder("cxr-max", "consensus", release=R).info.features["supported_by"])
import os, pathlib
print(any(f.endswith(".arrow") for _, _, fs in os.walk(os.environ["HF_HOME"]) for f in fs))
from cxr_max.data import builder
print(builder.Path is pathlib.Path, (pathlib.Path(cxr_max.__file__).parent.parent / "cxr_max.lock").exists())
""",
        tmp_path,
    )
    lines = out.splitlines()
    assert lines[0].startswith("['train', 'validation', 'test'] 5460 cxr-max 1.0.0 (")
    assert lines[1] == "260"
    assert lines[2] == "10"
    assert lines[3] == "IterableDataset gemini-2.5"
    assert lines[4] == "5460 0"
    assert lines[5].startswith("['instances', 'trajectories', 'steps', 'findings', 'consensus', 'preferences'")
    assert "string" in lines[6]
    assert lines[7] == "False"
    assert lines[8] == "True False"


@pytest.mark.parametrize("python", pythons())
def test_datasets_imported_first_and_the_way_back(python: str, release: Path, tmp_path: Path) -> None:
    out = run(
        python,
        f"""
import datasets, datasets.load as load, inspect
original = load.dataset_module_factory
import cxr_max
cxr_max.register(); cxr_max.register()
print(len(datasets.load_dataset("cxr-max", "instances", split="test", release={str(release)!r})))
cxr_max.unregister()
print(load.dataset_module_factory is original, datasets.inspect.dataset_module_factory is original)
try:
    datasets.load_dataset("cxr-max", "instances", split="test", release={str(release)!r})
except Exception as e:
    print("unknown again")
cxr_max.unregister()
cxr_max.register()
print(len(datasets.load_dataset("cxr-max", "instances", split="test", release={str(release)!r})))
print(len(inspect.getsource(load)) > 10000, type(load.__loader__).__name__)
print(datasets.load_dataset_builder("parquet", data_files={str(release / "instances" / "test-*.parquet")!r}).name)
""",
        tmp_path,
    )
    assert out.split("\n")[:6] == ["260", "True True", "unknown again", "260", "True SourceFileLoader", "parquet"]


@pytest.mark.parametrize("python", pythons())
def test_spawned_workers(python: str, release: Path, tmp_path: Path) -> None:
    out = run(
        python,
        f"""
import cxr_max, multiprocessing
def work(split):
    from datasets import load_dataset
    return len(load_dataset("cxr-max", "instances", split=split, release={str(release)!r}))
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(pool.map(work, ["train", "dev"]))
""",
        tmp_path,
    )
    assert out.split() == ["[780,", "260]"]


@pytest.mark.parametrize("python", pythons())
def test_switched_off(python: str, release: Path, tmp_path: Path) -> None:
    out = run(
        python,
        f"""
import cxr_max, sys, datasets
print([f for f in sys.meta_path if "cxr_max" in type(f).__module__])
try:
    datasets.load_dataset("cxr-max", release={str(release)!r})
except Exception as e:
    print("unknown")
print(len(cxr_max.load_dataset("instances", split="test", release={str(release)!r})))
""",
        tmp_path,
        CXR_MAX_NO_HOOK="1",
    )
    assert out.split() == ["[]", "unknown", "260"]


@pytest.mark.parametrize("python", pythons())
def test_without_us_a_folder_of_that_name_loads_from_its_parent(python: str, release: Path, tmp_path: Path) -> None:
    out = run(
        python,
        f"""
import os, sys
sys.modules["cxr_max"] = None
os.chdir({str(release.parent)!r})
from datasets import load_dataset
print(list(load_dataset("cxr-max")), len(load_dataset("cxr-max", split="validation")))
for name in ("instances", "steps", "consensus", "preferences"):
    print(name, len(load_dataset("cxr-max", name, split="train")))
ds = load_dataset("cxr-max", "preferences", split="train")
print(ds[0]["rejected"][0]["teacher"], load_dataset("cxr-max", split="train", streaming=True).features.keys() ==
      load_dataset("cxr-max", split="train").features.keys())
""",
        tmp_path,
    )
    assert out.split("\n")[:6] == [
        "['train', 'validation', 'test'] 1820", "instances 780", "steps 5460", "consensus 780", "preferences 780",
        "gemini-2.5 True",
    ]  # fmt: skip


def test_the_classic_script(release: Path, tmp_path: Path) -> None:
    lowest = peer_env.python_of("datasets36")
    if lowest is None:
        pytest.skip(f"needs `{peer_env.command('datasets36')}`")
    out = run(
        str(lowest),
        f"""
import datasets, os
assert datasets.__version__.startswith("3.6")
ds = datasets.load_dataset({str(SCRIPT)!r}, "preferences", release={str(release)!r}, trust_remote_code=True)
print(list(ds), len(ds["train"]), ds["train"].info.version.description[:13], ds["train"][0]["rejected"][0]["teacher"])
print(len(datasets.load_dataset({str(SCRIPT)!r}, split="dev", release={str(release)!r}, trust_remote_code=True)))
print(any(f.endswith(".arrow") for _, _, fs in os.walk(os.environ["HF_HOME"]) for f in fs))
""",
        tmp_path,
    )
    assert out.split("\n")[:3] == ["['train', 'validation', 'test'] 780 cxr-max 1.0.0 gemini-2.5", "1820", "False"]


def test_an_unknown_layout_of_datasets_warns_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    odd = types.ModuleType("datasets.load")
    monkeypatch.setitem(sys.modules, "datasets.load", odd)
    with pytest.warns(Warning, match=r"cxr_max\.load_dataset works"):
        hook._patch(odd)
    assert not hasattr(odd, "dataset_module_factory")


def test_importing_costs_next_to_nothing(tmp_path: Path) -> None:
    out = run(
        sys.executable,
        """
import sys, time
import cxr_max
cxr_max.unregister()
start = time.perf_counter()
cxr_max.register()
print((time.perf_counter() - start) * 1000 < 5, "datasets" in sys.modules, "torch" in sys.modules)
""",
        tmp_path,
    )
    assert out.split() == ["True", "False", "False"]
