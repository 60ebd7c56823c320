"""What lies beside the weights of every checkpoint: `training.json`, a model card, and `.gitignore` of `*`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cxr_max import __version__, folders
from cxr_max.align.config import Cost, TrainConfig
from cxr_max.align.gather import Gathered
from cxr_max.folders import TRAINING

FORMAT = 1
GUIDANCE = (
    "PhysioNet's guidelines for datasets and models made from MIMIC (24 April 2024): what is derived is to be "
    "treated as containing sensitive information; to share it, share it on PhysioNet under the same agreement as the "
    "source data. Do not upload this folder to a model hub, and do not send it to a third party or an online service."
)


def record(
    config: TrainConfig, data: Gathered, base: Mapping[str, Any], hyper: Any, cost: Cost, step: int
) -> dict[str, Any]:
    """What `training.json` says.

    Args:
        config: the stage.
        data: what it trains on.
        base: what lies below an adapter; see `students.base_record`.
        hyper: the method's settings, defaults included.
        cost: up to here.
        step: optimizer step.
    """
    restricted = folders.is_restricted(data.synthetic)
    return {
        "format": FORMAT,
        "tool": f"cxr-max {__version__}",
        "recipe": config.recipe,
        "method": config.method,
        "hyper": asdict(hyper),
        "template": config.template,
        "answer_loss": config.answer_loss,
        "max_completion": config.max_completion,
        "model": asdict(config.model),
        "base": dict(base),
        "optimizer": asdict(config.optimizer),
        "release": data.release,
        "data_class": "derived" if restricted else "synthetic",
        "synthetic": data.synthetic,
        "train_on": config.train_on,
        "contaminated": data.selection.contaminated,
        "evaluation_sets": list(data.selection.evaluation_sets),
        "positives": config.positives,
        "teachers": list(config.teachers),
        "negatives": asdict(config.negatives),
        "fraction": config.fraction,
        "seed": config.seed,
        "dropped": data.dropped,
        "negatives_dropped": data.negatives_dropped,
        "step": step,
        "cost": asdict(cost),
        "training_digest": data.selection.digest,
        "training_ids": list(data.selection.instance_ids),
    }


def write(folder: Path, training: Mapping[str, Any]) -> None:
    """Write record, card and `.gitignore` into a checkpoint folder; a restricted one is closed to others."""
    folders.write_atomic(folder / TRAINING, json.dumps(training, indent=1, default=str) + "\n")
    folders.write_atomic(folder / "README.md", card(training))
    folders.write_atomic(folder / ".gitignore", "*\n")
    if training["data_class"] != "synthetic":
        folders.write_atomic(folder / "RESTRICTED.md", folders.NOTICE)
        folders.private_dir(folder)


def card(training: Mapping[str, Any]) -> str:
    """The model card, with the front matter that hubs and tools read."""
    release, cost = training["release"], training["cost"]
    synthetic = training["data_class"] == "synthetic"
    tainted = " Patients of evaluation sets may be among them (contaminated)." if training["contaminated"] else ""
    dropped = ", ".join(f"{reason}: {n}" for reason, n in training["dropped"].items()) or "none"
    base = training["base"]
    lines = [
        "---",
        "library_name: transformers",
        f"license: {'apache-2.0' if synthetic else 'other'}",
        *([] if synthetic else ["license_name: physionet-credentialed-health-data-license-1.5.0"]),
        "tags: [chest-x-ray, cxr-max, " + ("synthetic" if synthetic else "restricted") + "]",
        "---",
        f"# {training['recipe'] or 'stage'}: {training['method']}, step {training['step']}",
        "",
        "For research. Not a medical device, and not validated for any clinical use.",
        "",
        f"- data class: **{training['data_class']}**",
        f"- release: {release['name']} {release['version']} (`{release['hash']}`)",
        f"- trained on: `{training['train_on']}`, {len(training['training_ids']):,} instances "
        f"(ids in `{TRAINING}`, SHA-256 `{training['training_digest']}`).{tainted}",
        f"- kept apart from: {', '.join(training['evaluation_sets']) or 'no evaluation set'}; left out: {dropped}",
        f"- method: `{training['method']}` {json.dumps(training['hyper'], default=str)}, template "
        f"`{training['template']}`, positives `{training['positives']}`, negatives `{training['negatives']['kind']}`",
        f"- base: {base['path'] if base.get('path') else 'random weights'}, seed {training['seed']}",
        f"- cost: {cost['trunk_tokens']:,} tokens, {cost['flop']:.3g} FLOP, {cost['wall_s']:,.0f} s",
        "",
        "The teachers were told the diagnoses, so their trajectories are rationalisations; a student learns their way "
        "of writing, and what it says of an image is no evidence of diagnostic skill until it is evaluated.",
        "",
        "Made from synthetic data alone; free of any restriction." if synthetic else GUIDANCE,
        "",
    ]
    return "\n".join(lines)
