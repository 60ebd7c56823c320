"""One process of a training on weights sharded by FSDP2, on CPUs; started by torchrun.

accelerate shards on accelerators alone: with several processes on CPUs it drops its FSDP settings without a word and
replicates. FSDP2 itself runs on gloo, so the assignment accelerate leaves out is made up for here. Everything behind it
is PyTorch's, accelerate's, the Trainer's and ours.
"""

import sys
from pathlib import Path
from typing import Any

from accelerate import state
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from tests import tiny_world

_init = state.AcceleratorState.__init__


def _with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    _init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if isinstance(fsdp_plugin, FullyShardedDataParallelPlugin):
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP


if __name__ == "__main__":
    state.AcceleratorState.__init__ = _with_fsdp  # type: ignore[method-assign]
    tiny_world.both_stages(tiny_world.Tiny(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3]))
