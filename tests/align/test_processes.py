"""Several processes: replicated and sharded, they learn what one process with accumulation does."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from cxr_max import align
from cxr_max.align import checkpoints, watch
from tests import tiny_world
from tests.tiny_world import Tiny

CONFIG = Path(align.__file__).parents[1] / "recipes" / "accelerate_fsdp2.yaml"
SAME = ("loss", "num_tokens", "grad_norm")


@pytest.fixture(scope="module")
def one(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages in one process. Groups are of different length, so a mean of means would differ."""
    out = tmp_path_factory.mktemp("processes") / "one"
    tiny_world.both_stages(tiny, out)
    return out


def _port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def _compare(ours: Path, theirs: Path, names: tuple[str, ...], tolerance: float) -> None:
    rows = [watch.read_log(out / "log.jsonl") for out in (ours, theirs)]
    assert [len(r) for r in rows] == [3, 3]
    for name in names:
        assert [r[name] for r in rows[0]] == pytest.approx([r[name] for r in rows[1]], rel=tolerance), name


def test_two_processes_learn_what_one_does_with_accumulation(tiny: Tiny, one: Path, tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        "from pathlib import Path\nfrom tests import tiny_world\n"
        f"tiny = tiny_world.Tiny(Path({str(tiny.release)!r}), Path({str(tiny.root)!r}))\n"
        f"tiny_world.both_stages(tiny, Path({str(tmp_path)!r}))\n"
    )
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines"]
    launch += ["1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", _port(), str(script)]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    _compare(tmp_path / "sft", one / "sft", (*SAME, "tokens", "nll_per_token"), 1e-4)
    _compare(tmp_path / "apo", one / "apo", (*SAME, "logps/chosen"), 1e-3)


def _sharded(tiny: Tiny, out: Path) -> None:
    """Both stages in two processes with what the shipped file sets, but float32, so that numbers can be compared."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    given = ["--config_file", str(CONFIG), "--num_processes", "2", "--mixed_precision", "no", "unread.py"]
    environment = prepare_multi_gpu_env(_validate_launch_command(launch_command_parser().parse_args(given))[0])
    assert environment["FSDP_VERSION"] == "2"
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", _port()]
    run += ["-m", "tests.align.fsdp_worker", str(tiny.release), str(tiny.root), str(out)]
    cpu = {**os.environ, **environment, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(run, capture_output=True, text=True, timeout=400, check=False, env=cpu)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_sharded_weights_learn_the_same_and_go_on_after_a_kill(tiny: Tiny, one: Path, tmp_path: Path) -> None:
    _sharded(tiny, tmp_path)
    _compare(tmp_path / "sft", one / "sft", SAME, 1e-3)
    _compare(tmp_path / "apo", one / "apo", (*SAME, "logps/chosen"), 1e-3)
    last = checkpoints.whole(tmp_path / "apo")[-1]
    assert (last / "pytorch_model_fsdp_0").is_dir()  # the weights were sharded
    whole = align.load_student(tmp_path / "apo" / "final").model.state_dict()
    alone = align.load_student(one / "apo" / "final").model.state_dict()
    assert whole.keys() == alone.keys()
    assert all(torch.allclose(whole[k], alone[k], atol=1e-3) for k in alone)
    # As if it had been killed while its last checkpoint was written.
    (last / checkpoints.MARKER).unlink()
    shutil.rmtree(tmp_path / "apo" / "final")
    _sharded(tiny, tmp_path)
    again = align.load_student(tmp_path / "apo" / "final").model.state_dict()
    assert all(torch.equal(again[k], whole[k]) for k in whole)
    _compare(tmp_path / "apo", one / "apo", SAME, 1e-3)


def test_the_shipped_fsdp2_config_is_one_that_accelerate_reads() -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import FullyShardedDataParallelPlugin

    config = load_config_from_file(str(CONFIG))
    assert config.distributed_type == "FSDP"
    settings = yaml.safe_load(CONFIG.read_text())["fsdp_config"]
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=settings["fsdp_version"],
        auto_wrap_policy=settings["fsdp_auto_wrap_policy"].lower(),
        transformer_cls_names_to_wrap=[settings["fsdp_transformer_layer_cls_to_wrap"]],
        reshard_after_forward=settings["fsdp_reshard_after_forward"],
        state_dict_type=settings["fsdp_state_dict_type"],
    )
    assert plugin.fsdp_version == 2
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

    assert hasattr(modeling_qwen2_5_vl, settings["fsdp_transformer_layer_cls_to_wrap"])
