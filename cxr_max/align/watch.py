"""Who watches a run: the log file, the progress bar, the warning that the chosen sink, and trackers."""

import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from cxr_max.align.config import REMOTE_TRACKERS, TrainConfig
from cxr_max.errors import CxrMaxWarning
from cxr_max.optional import require

SUNK = 0.1
"""Nats per token the chosen may lose before a warning: its perplexity has risen by a tenth."""
WINDOW = 10


class LogFile(TrainerCallback):
    """`log.jsonl`, one line per logged step; a run that goes on from a checkpoint drops the lines behind it.

    Args:
        path: of the file.
        step: the step the run goes on from; 0 at the beginning.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.last: dict[str, float] = {}
        kept = [row for row in read_log(path) if row["step"] <= step] if step else []
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Append a line; the Trainer's summary at the end is left out."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        self.last = {k: v for k, v in logs.items() if isinstance(v, int | float)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **self.last}) + "\n")


def read_log(path: Path) -> list[dict[str, float]]:
    """The whole lines of a log; a line a kill cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


class Sinking(TrainerCallback):
    """Warns once when the likelihood of the chosen sinks; only differences enter the loss, so both sides may fall."""

    def __init__(self) -> None:
        self._rows: list[float] = []
        self._warned = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Compare the mean of the last lines with zero (a log-ratio), or with the first lines where none is there."""
        ratio = (logs or {}).get("h_per_token/chosen")
        value = ratio if ratio is not None else (logs or {}).get("logps_per_token/chosen")
        if value is None or math.isnan(value) or self._warned:
            return
        self._rows.append(value)
        if len(self._rows) < WINDOW + (ratio is None) * WINDOW:
            return
        start = 0.0 if ratio is not None else sum(self._rows[:WINDOW]) / WINDOW
        lost = start - sum(self._rows[-WINDOW:]) / WINDOW
        if lost > SUNK:
            self._warned = True
            warnings.warn(
                f"the likelihood of the chosen trajectories sinks: {lost:.2f} nats per token lost by step "
                f"{state.global_step}; watch logps/chosen, lower beta's pull or add nll_weight",
                CxrMaxWarning,
                stacklevel=2,
            )


class Bar(TrainerCallback):
    """A bar on standard error with the remaining time; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        if not state.is_world_process_zero:
            return
        progress = require("rich.progress")
        console = require("rich.console").Console(stderr=True)
        columns = (
            progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(), progress.TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._bar.start()
        self._task = self._bar.add_task("training", total=state.max_steps, completed=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance."""
        if self._bar is not None:
            self._bar.update(self._task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show the loss."""
        if self._bar is not None and logs and "loss" in logs:
            self._bar.update(self._task, description=f"loss {logs['loss']:.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Trackers(TrainerCallback):
    """Scalars to trackers, through accelerate's adapters; neither configuration nor paths nor code go with them.

    Args:
        config: the stage.

    Raises:
        MissingExtraError: a tracker's package is not installed.
    """

    def __init__(self, config: TrainConfig) -> None:
        tracking = require("accelerate.tracking", extra="train")
        self._trackers: list[Any] = []
        for name in config.trackers:
            require({"comet_ml": "comet_ml"}.get(name, name))
            kind = tracking.LOGGER_TYPE_TO_CLASS[name]
            if name in REMOTE_TRACKERS:
                # What wandb would take along by itself: code, command line, console output.
                os.environ |= {"WANDB_DISABLE_CODE": "true", "WANDB_DISABLE_GIT": "true", "WANDB_CONSOLE": "off"}
            folder = {"logging_dir": str(config.out / "trackers")} if kind.requires_logging_directory else {}
            tracker = kind(f"{config.recipe or 'cxr-max'}-{config.method}", **folder)
            if hasattr(tracker, "start"):
                tracker.start()
            self._trackers.append(tracker)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Send finite numbers, nothing else."""
        numbers = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float) and math.isfinite(v)}
        if state.is_world_process_zero and numbers:
            for tracker in self._trackers:
                tracker.log(numbers, step=state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close them."""
        for tracker in self._trackers:
            tracker.finish()
