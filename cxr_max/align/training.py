"""One stage, from its configuration to its finished checkpoint; the same call goes on where a killed one stopped."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from cxr_max import findings, folders
from cxr_max.align import cards, checkpoints, memory, methods, plan, scratch, students, watch
from cxr_max.align.config import Cost, TrainConfig, TrainResult, is_supervised, validate
from cxr_max.align.features import FeatureStore
from cxr_max.align.gather import Gathered, gather
from cxr_max.align.logprobs import verify_exact
from cxr_max.align.pack import PackedBatch, pack
from cxr_max.align.reference import ReferenceCache, ReferenceKey, fingerprint
from cxr_max.align.render import Renderer
from cxr_max.align.trainer import Collator, Groups, GroupScorer, GroupTrainer, Method
from cxr_max.data import open_release
from cxr_max.errors import UsageError

STAGE = "stage.json"
_FREE = ("out", "check_memory", "keep", "log_steps", "save_steps", "trackers", "remote_metrics", "reference_cache",
         "release", "roots", "mimic_root", "trainer", "recipe")  # fmt: skip
"""Fields that may differ between a run and its continuation; the data are compared by their hashes."""
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}


class _Run(NamedTuple):
    """What a stage is made of once everything is loaded."""

    config: TrainConfig
    data: Gathered
    method: Method
    args: TrainingArguments
    source: str | Path
    model: Any
    reference: Any
    reference_name: str
    renderer: Renderer
    max_length: int
    resume: Path | None


class Meter:
    """Counts what training takes; starts from what a checkpoint says.

    Args:
        work: operations of a batch.
        before: cost up to the checkpoint gone on from.
        processes: each is taken to do the same as this one.
    """

    def __init__(self, work: plan.Work, before: Cost, processes: int) -> None:
        self._work, self._before, self._processes = work, before, processes
        self._tokens, self._flop, self._start = 0, 0.0, time.perf_counter()
        memory.forget_peak()

    def add(self, batch: PackedBatch) -> None:
        """One micro-batch."""
        self._tokens += batch.n_tokens
        self._flop += self._work.flop(batch)

    def cost(self) -> Cost:
        """Up to now."""
        return Cost(
            trunk_tokens=self._before.trunk_tokens + self._tokens * self._processes,
            flop=self._before.flop + self._flop * self._processes,
            wall_s=self._before.wall_s + time.perf_counter() - self._start,
            peak_memory_bytes=max(self._before.peak_memory_bytes, memory.peak()),
        )


def train(config: TrainConfig, *, tell: Callable[[str], None] | None = None) -> TrainResult:
    """Train one stage.

    Killed at any moment, the same call goes on from the last whole checkpoint and ends with the same weights; called
    again when finished, it returns what it left. Under `accelerate launch` or `torchrun` every process calls it.

    Args:
        config: the stage.
        tell: takes lines for the user: what will be trained on, projected time and memory.

    Raises:
        UsageError: a setting outside what is allowed, no positive, another configuration in `out`, too little memory.
        DataError: data, model, tokenizer or reference cache that do not fit together.
        RestrictedDataError: `out` lies in a git work tree and the data are real.
    """
    hyper = validate(config)
    method = Method(
        methods.get(config.method), hyper, methods.needs(config.method, hyper), is_supervised(config.method)
    )
    data = gather(config, hyper)
    args = arguments(config, len(data.groups), synthetic=data.synthetic)
    with args.main_process_first(local=False, desc="preparing the folder"):
        if args.process_index == 0:
            folders.output_dir(config.out, synthetic=data.synthetic)
            _same_stage(config, data)
            checkpoints.clean(config.out)
        source = _source(config)
    if (config.out / "final" / folders.TRAINING).is_file():
        return _finished(config)
    return _run(_load(config, data, method, args, source), tell or (lambda line: None))


def arguments(config: TrainConfig, n_groups: int, *, synthetic: bool) -> TrainingArguments:
    """The Trainer's arguments for a stage.

    Raises:
        UsageError: the groups of a step are no multiple of what the processes take at once.
    """
    o = config.optimizer
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if o.groups % (o.micro_groups * processes):
        raise UsageError(
            f"{o.groups} groups a step, {processes} processes with {o.micro_groups} each; "
            "allowed: a multiple of what they take at once"
        )
    accumulation = o.groups // (o.micro_groups * processes)
    steps = steps_of(config, n_groups)
    floor = {"min_lr": min(o.min_learning_rate, o.learning_rate)}
    settings: dict[str, Any] = {
        "output_dir": str(config.out),
        "per_device_train_batch_size": o.micro_groups,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": o.learning_rate,
        "adam_beta1": o.betas[0],
        "adam_beta2": o.betas[1],
        "adam_epsilon": o.epsilon,
        "weight_decay": o.weight_decay,
        "max_grad_norm": o.max_grad_norm,
        "lr_scheduler_type": o.schedule,
        "lr_scheduler_kwargs": floor if o.schedule == "cosine_with_min_lr" else {},
        "warmup_steps": o.warmup_steps or math.ceil(o.warmup_ratio * steps),
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "seed": config.seed,
        "data_seed": config.seed,
        "logging_steps": config.log_steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": config.save_steps or max(1, steps // 10),
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": [],
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,
    }
    settings |= dict(config.trainer)
    # Ours to decide: trackers are callbacks of ours, checkpoints are rotated once the next is sealed, real data stay.
    settings |= {"report_to": "none", "save_total_limit": None}
    if folders.is_restricted(synthetic):
        settings["push_to_hub"] = False
    return TrainingArguments(**settings)


def steps_of(config: TrainConfig, n_groups: int) -> int:
    """Optimizer steps of a stage."""
    o = config.optimizer
    return config.max_steps or math.ceil(math.ceil(n_groups / o.groups) * config.epochs)


def _same_stage(config: TrainConfig, data: Gathered) -> None:
    """Write what the folder is for, or compare with what it says."""
    now = {k: v for k, v in asdict(config).items() if k not in _FREE}
    now |= {"release": data.release["hash"], "training_digest": data.selection.digest}
    text = json.dumps(now, indent=1, sort_keys=True, default=str)
    path = config.out / STAGE
    if not path.is_file():
        folders.write_atomic(path, text)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    differs = [k for k, v in json.loads(text).items() if before.get(k) != v]
    if differs:
        raise UsageError(
            f"{config.out} holds a stage with other settings or data: {', '.join(differs)} differ",
            next="choose another --out, or give the settings it was started with",
        )


def _source(config: TrainConfig) -> str | Path:
    """Where the model is read from; one made from scratch is written first, beside the checkpoints."""
    if config.start is not None:
        return config.start
    if config.model.scratch is None:
        return str(config.model.pretrained)
    base = config.out / "base"
    if not base.is_dir():
        trajectories = open_release(config.release).scan("trajectories")
        texts = trajectories.filter(split="train").select("trajectory").collect()["trajectory"].to_list()
        with folders.sibling(base) as draft:
            scratch.write(config.model, texts, draft, seed=config.seed)
            draft.chmod(0o755)
            os.replace(draft, base)
    return base


def _load(config: TrainConfig, data: Gathered, method: Method, args: TrainingArguments, source: str | Path) -> _Run:
    """Model, reference and renderer, checked against each other."""
    spec = config.model
    if spec.dtype != "float32" and spec.lora is None:
        raise UsageError(
            f"weights that train are kept in float32, dtype is {spec.dtype}",
            next="train an adapter, or compute in bfloat16 with trainer={'bf16': True}",
        )
    dtype = torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32
    model = students.load_model(source, dtype=dtype, revision=spec.revision, merge=True)
    reference = None
    if "reference" in method.needs and spec.lora is None:
        reference = students.load_model(source, dtype=dtype, revision=spec.revision, merge=True)
        reference = reference.to(args.device).eval().requires_grad_(False)
    answer_loss = "all" if method.supervised and config.answer_loss == "chosen" else config.answer_loss
    segment = findings.segment if "steps" in method.needs else None
    renderer = students.renderer_of(source, config, answer_loss=answer_loss, segment=segment)
    plan.check_match(model, renderer, images=config.images)
    longest = plan.max_length(config, model)
    name = fingerprint(model) if "reference" in method.needs else ""
    set_seed(config.seed)
    model = students.prepare(model, spec)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    kept = checkpoints.whole(config.out)
    return _Run(
        config, data, method, args, source, model, reference, name, renderer, longest, kept[-1] if kept else None
    )


def _run(run: _Run, tell: Callable[[str], None]) -> TrainResult:
    config, args = run.config, run.args
    before = Cost(**students.read_training(run.resume)["cost"]) if run.resume else Cost()
    resumed = checkpoints.step_of(run.resume) if run.resume else None
    work = plan.Work(run.model, reference="reference" in run.method.needs, recomputed=config.gradient_checkpointing)
    meter = Meter(work, before, args.world_size)
    base = students.base_record(run.source, config.out, config.model.revision)

    def describe(folder: Path) -> None:
        step = trainer.state.global_step
        cards.write(folder, cards.record(config, run.data, base, run.method.hyper, meter.cost(), step))

    bar = watch.Bar()
    log = watch.LogFile(config.out / "log.jsonl", resumed or 0)
    trainer = GroupTrainer(
        method=run.method,
        renderer=run.renderer,
        describe=describe,
        keep=config.keep,
        model=GroupScorer(run.model, run.reference, _cache(run), FeatureStore("run")),
        args=args,
        train_dataset=Groups(run.data.groups, run.renderer, run.max_length),
        data_collator=Collator(run.method),
        callbacks=[log, watch.Sinking(), bar, *([watch.Trackers(config)] if config.trackers else [])],
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    _plan(run, trainer, work, resumed or 0, tell)
    trainer.meter = meter
    try:
        trainer.train(resume_from_checkpoint=str(run.resume) if run.resume else None)
    finally:
        bar.close()
    _save_final(trainer, config.out / "final", describe)
    return TrainResult(
        folder=config.out / "final",
        steps=trainer.state.global_step,
        resumed_from=resumed,
        metrics=log.last,
        training_ids=run.data.selection.instance_ids,
        cost=meter.cost(),
    )


def _plan(run: _Run, trainer: GroupTrainer, work: plan.Work, done: int, tell: Callable[[str], None]) -> None:
    """Check what can be checked before work, and say what the run will take."""
    config, groups = run.config, run.data.groups
    left = {**run.data.dropped, **{f"trajectories: {k}": n for k, n in run.data.negatives_dropped.items()}}
    tell(f"training on {len(groups):,} instances" + "".join(f"; {reason}: {n:,}" for reason, n in left.items()))
    rendered = plan.sample(run.renderer, groups, run.max_length)
    batches = [pack([g]) for g in rendered]
    steps = steps_of(config, len(groups))
    images = [int((g.prefix_ids_P == run.renderer.image_token_id).sum()) for g in rendered] if config.images else [0]
    largest = sorted(rendered, key=lambda g: -sum(map(len, g.completion_ids)))[:1] * config.optimizer.micro_groups
    tokens = sum(b.n_tokens for b in batches) / len(batches)
    single = run.args.world_size == 1
    needed = plan.memory_of(run.model, pack(largest), config)
    made = plan.Plan(
        groups=len(groups),
        steps=steps,
        tokens_per_group=tokens,
        tokens_unshared=sum(b.n_tokens_unshared for b in batches) / len(batches),
        image_tokens=max(images),
        longest=max(len(g.prefix_ids_P) + max(map(len, g.completion_ids)) for g in rendered),
        parameters=sum(p.numel() for p in run.model.parameters()),
        trainable=sum(p.numel() for p in run.model.parameters() if p.requires_grad),
        flop=sum(map(work.flop, batches)) / len(batches) * steps * config.optimizer.groups,
        memory_bytes=needed,
        available_bytes=plan.available_bytes(run.args.device) if single else 0,
    )
    if config.check_memory:
        plan.check_memory(made)
    if single:
        if not done:
            _verify(run, rendered)
        seconds = plan.measure(trainer, rendered) * tokens * config.optimizer.groups * (steps - done)
        made = plan.Plan(**(made.plain() | {"seconds": seconds}))
    if run.args.process_index == 0:
        folders.write_atomic(config.out / "plan.json", json.dumps(made.plain(), indent=1))
        for line in made.lines():
            tell(line)


def _verify(run: _Run, rendered: list[Any]) -> None:
    """Prefix sharing is exact for this model, or training stops here."""
    shortest = min(rendered, key=lambda g: sum(map(len, g.completion_ids)))
    run.model.eval()
    verify_exact(run.model, [shortest], tolerance=_TOLERANCE[run.config.model.dtype])
    run.model.train()


def _cache(run: _Run) -> ReferenceCache | None:
    """Kept reference log-probabilities; opening another reference's is refused here, before work."""
    if "reference" not in run.method.needs:
        return None
    processor = run.renderer.image_processor.to_dict() if run.renderer.image_processor is not None else {}
    key = ReferenceKey(run.reference_name, run.config.model.dtype, processor=processor, template=run.config.template)
    folder = run.config.reference_cache or run.config.out / "reference"
    with run.args.main_process_first(local=False, desc="opening the reference cache"):
        return ReferenceCache(folder, key, synthetic=run.data.synthetic)


def _save_final(trainer: GroupTrainer, final: Path, describe: Callable[[Path], None]) -> None:
    """The finished model: whole or not there."""
    trainer.accelerator.wait_for_everyone()
    if trainer.args.should_save:
        with folders.sibling(final) as draft:
            draft.chmod(0o755)
            trainer.save_final(draft)
            describe(draft)
            checkpoints.seal(draft)
            os.replace(draft, final)
            folders.fsync_dir(final.parent)
    else:
        trainer.save_final(final)
    trainer.accelerator.wait_for_everyone()


def _finished(config: TrainConfig) -> TrainResult:
    """What an earlier call left."""
    training = students.read_training(config.out / "final")
    rows = watch.read_log(config.out / "log.jsonl")
    return TrainResult(
        folder=config.out / "final",
        steps=training["step"],
        resumed_from=training["step"],
        metrics={k: v for k, v in rows[-1].items() if k != "step"} if rows else {},
        training_ids=tuple(training["training_ids"]),
        cost=Cost(**training["cost"]),
    )
