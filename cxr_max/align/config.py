"""What one stage of training is made of, and what it leaves behind.

`TrainConfig` is one stage: a model, a method, data, an optimizer. A recipe is a tuple of stages; see `cxr_max.recipes`.
Choices that depend on the data are checked when the stage starts, all of them before any work.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cxr_max.align import methods, selection, templates
from cxr_max.align.losses import check_above_zero, check_choice
from cxr_max.align.negatives import Choice
from cxr_max.align.render import ANSWER_LOSSES
from cxr_max.errors import UsageError
from cxr_max.teachers import TEACHER_IDS

DTYPES = ("float32", "bfloat16")
SCHEDULES = ("cosine_with_min_lr", "cosine", "linear", "constant_with_warmup", "constant")
TEACHERS = "teachers"
"""`positives` of supervised training: every trajectory is learned, none stands against the others."""

LOCAL_TRACKERS = ("tensorboard",)
REMOTE_TRACKERS = ("wandb", "mlflow", "comet_ml", "aim", "clearml", "swanlab", "trackio")


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter.

    Attributes:
        rank, alpha: of the update alpha / rank * B A.
        dropout: on the adapter's input, in [0, 1).
        targets: `text`, every linear layer of the text model; or names of layers as PEFT takes them.
    """

    rank: int = 8
    alpha: float = 32.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ("text",)

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise UsageError(f"LoRA of rank {self.rank}, dropout {self.dropout}; allowed: 1 and above, [0, 1)")
        check_above_zero("alpha", self.alpha)


@dataclass(frozen=True)
class Scratch:
    """A Qwen2.5-VL with random weights: the same classes, template and processor as the real one, of any size.

    Attributes:
        text, vision: fields of the model's text and vision configuration.
        tokenizer: folder of a tokenizer; None trains a byte-level BPE on the trajectories of the train split.
        vocabulary: entries of that BPE, added tokens included.
    """

    text: Mapping[str, Any] = field(default_factory=dict)
    vision: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None
    vocabulary: int = 1200


@dataclass(frozen=True)
class ModelSpec:
    """The student.

    Attributes:
        pretrained: folder or hub name of a model; exactly one of this and `scratch`, unless the stage has a `start`.
        revision: of a hub name.
        scratch: a model with random weights.
        dtype: of the weights, `float32` or `bfloat16`; a scratch model and full training keep float32.
        freeze_vision: no gradient for the vision tower and its projector (both of the paper's stages).
        freeze_text: no gradient for the text decoder.
        lora: train an adapter instead of the weights; the model without it is then the reference.
        attention_dropout: in the text decoder, [0, 1).
        min_pixels, max_pixels: limits of the image processor; None leaves the model's own.
    """

    pretrained: str | None = None
    revision: str | None = None
    scratch: Scratch | None = None
    dtype: str = "float32"
    freeze_vision: bool = True
    freeze_text: bool = False
    lora: Lora | None = None
    attention_dropout: float = 0.0
    min_pixels: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, DTYPES)
        if self.pretrained is not None and self.scratch is not None:
            raise UsageError("a model is either pretrained or made from scratch; both were given")
        if not 0 <= self.attention_dropout < 1:
            raise UsageError(f"attention_dropout {self.attention_dropout}; allowed: [0, 1)")
        if self.freeze_vision and self.freeze_text and self.lora is None:
            raise UsageError("vision tower and text decoder are both frozen and there is no adapter to train")


@dataclass(frozen=True)
class Optimizer:
    """AdamW, its schedule, and the size of a step.

    Attributes:
        learning_rate: largest of the schedule.
        betas, epsilon, weight_decay, max_grad_norm: of AdamW and clipping; `max_grad_norm` 0 clips nothing.
        schedule: of the learning rate, in transformers' names; `cosine_with_min_lr` decays to `min_learning_rate`.
        warmup_steps, warmup_ratio: at most one of them is above 0.
        groups: groups (images with all their trajectories) an optimizer step, over all processes.
        micro_groups: groups a process packs into one forward; `groups` is a multiple of it times the processes.
    """

    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-8
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    schedule: str = "cosine_with_min_lr"
    min_learning_rate: float = 1e-7
    warmup_steps: int = 0
    warmup_ratio: float = 0.0
    groups: int = 2
    micro_groups: int = 1

    def __post_init__(self) -> None:
        check_above_zero("learning_rate", self.learning_rate)
        check_choice("schedule", self.schedule, SCHEDULES)
        if self.warmup_steps and self.warmup_ratio:
            raise UsageError("both warmup_steps and warmup_ratio were given; one of them has to be 0")
        if self.warmup_steps < 0 or not 0 <= self.warmup_ratio <= 1:
            raise UsageError(f"warm-up of {self.warmup_steps} steps, ratio {self.warmup_ratio}; allowed: >= 0, [0, 1]")
        if self.micro_groups < 1 or self.groups < 1 or self.groups % self.micro_groups:
            raise UsageError(f"{self.groups} groups a step are no multiple of micro_groups {self.micro_groups}")


@dataclass(frozen=True)
class TrainConfig:
    """One stage.

    Attributes:
        release: folder of the release; never guessed.
        out: folder of the stage: checkpoints, `final`, `log.jsonl`, `plan.json`.
        model: the student; with `start`, only its adapter, freezing, dropout and dtype are read.
        method: a name or file that `align.methods` resolves.
        template: `rationale` or `diagnose`; there is no default.
        start: checkpoint folder of an earlier stage; it is also the reference.
        hyper: settings of the method.
        optimizer: settings of the optimizer.
        roots: `NAME=PATH` of datasets: images, and the patients nobody may be trained on.
        mimic_root: folders of MIMIC-CXR(-JPG), short form.
        images: False trains on text alone, with no root.
        train_on: `clean` or `all`; see `selection`.
        positives: `teachers`; a consensus strategy of the table of preferences; or teacher ids.
        teachers: only these teachers' trajectories; empty takes all.
        negatives: which negatives and weights; see `negatives.Choice`.
        refusals: whether supervised training sees texts without an image-specific assertion.
        answer_loss: see `render.Renderer`; supervised training on all trajectories scores every answer.
        fraction: of the patients that may be trained on, in (0, 1]; nested: a smaller one is a part of a larger.
        limit: at most so many instances.
        max_completion: tokens of a completion before it is cut at the end; None cuts nothing.
        max_length: tokens of prompt, image and one completion together; None takes the model's.
        epochs: passes over the data; not read when `max_steps` is given.
        max_steps: optimizer steps.
        seed: of weights, order, dropout and draws.
        gradient_checkpointing: recompute layers in the backward pass.
        save_steps: steps between checkpoints; None makes ten a run.
        keep: checkpoints kept.
        log_steps: steps between lines of the log.
        trackers: `tensorboard`, or with `remote_metrics` a remote one, which is sent scalars only.
        remote_metrics: allow remote trackers.
        reference_cache: folder of kept reference log-probabilities; None keeps them in `out`.
        check_memory: stop before work when the estimate exceeds what is free.
        trainer: further arguments of `transformers.TrainingArguments`, such as `deepspeed` or `fsdp`.
        recipe: name of the recipe this belongs to.
    """

    release: Path
    out: Path
    model: ModelSpec
    method: str
    template: str
    start: Path | None = None
    hyper: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Optimizer = field(default_factory=Optimizer)
    roots: tuple[str, ...] = ()
    mimic_root: tuple[Path, ...] = ()
    images: bool = True
    train_on: str = "clean"
    positives: str | tuple[str, ...] = TEACHERS
    teachers: tuple[str, ...] = ()
    negatives: Choice = field(default_factory=Choice)
    refusals: bool = True
    answer_loss: str = "chosen"
    fraction: float = 1.0
    limit: int | None = None
    max_completion: int | None = None
    max_length: int | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    seed: int = 0
    gradient_checkpointing: bool = False
    save_steps: int | None = None
    keep: int = 2
    log_steps: int = 1
    trackers: tuple[str, ...] = ()
    remote_metrics: bool = False
    reference_cache: Path | None = None
    check_memory: bool = True
    trainer: Mapping[str, Any] = field(default_factory=dict)
    recipe: str = ""

    def with_(self, **changes: Any) -> "TrainConfig":
        """The same stage with some fields changed."""
        return replace(self, **changes)


def validate(config: TrainConfig) -> Any:
    """Check everything that needs no data, and make the method's settings.

    Returns:
        The method's `Hyper`.

    Raises:
        UsageError: a value outside what is allowed.
        UnknownNameError: no such method, template or teacher.
    """
    templates.get(config.template)
    check_choice("train_on", config.train_on, selection.TRAIN_ON)
    check_choice("answer_loss", config.answer_loss, ANSWER_LOSSES)
    if config.start is None and config.model.pretrained is None and config.model.scratch is None:
        raise UsageError("there is neither a model nor a stage to start from", next="give model.pretrained or start")
    for name, low in (("limit", 1), ("max_completion", 1), ("max_length", 1), ("max_steps", 1), ("save_steps", 1)):
        value = getattr(config, name)
        if value is not None and value < low:
            raise UsageError(f"{name} {value}; allowed: {low} and above")
    if config.keep < 1 or config.log_steps < 1 or not 0 < config.fraction <= 1:
        raise UsageError(
            f"keep {config.keep}, log_steps {config.log_steps}, fraction {config.fraction}; see TrainConfig"
        )
    _check_sources(config)
    _check_trackers(config)
    module = methods.get(config.method)
    known = getattr(module.Hyper, "__dataclass_fields__", {})
    unknown = [k for k in config.hyper if k not in known]
    if unknown:
        raise UsageError(f"{config.method} has no setting {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    return module.Hyper(**config.hyper)


def _check_sources(config: TrainConfig) -> None:
    """Teachers are known; a method that weighs a positive against others has one."""
    unknown = sorted({*config.teachers, *_teachers_of(config.positives)} - {*TEACHER_IDS})
    if unknown:
        raise UsageError(f"no teacher {', '.join(unknown)}; known: {', '.join(TEACHER_IDS)}")
    if is_supervised(config.method):
        return
    if config.positives == TEACHERS or len(_teachers_of(config.positives)) > 1:
        raise UsageError(
            f"no positive: {config.method} weighs one trajectory against others; positives are {config.positives!r}",
            next="positives=vote after cxr-max consensus, or one teacher's id",
        )


def _teachers_of(positives: str | tuple[str, ...]) -> tuple[str, ...]:
    """The teachers that positives name; empty when they name a strategy or all."""
    if isinstance(positives, tuple):
        return positives
    return (positives,) if positives in TEACHER_IDS else ()


def is_supervised(method: str) -> bool:
    """Whether a method learns every completion of a group alike, so that none needs to be the positive."""
    return bool(getattr(methods.get(method), "SUPERVISED", False))


def _check_trackers(config: TrainConfig) -> None:
    for name in config.trackers:
        check_choice("tracker", name, (*LOCAL_TRACKERS, *REMOTE_TRACKERS))
    remote = [t for t in config.trackers if t in REMOTE_TRACKERS]
    if remote and not config.remote_metrics:
        raise UsageError(
            f"{', '.join(remote)} sends metrics to another machine",
            next="pass remote_metrics=True (--remote-metrics) to send scalars, and scalars only",
        )


@dataclass(frozen=True)
class Cost:
    """What a stage took, over all its processes and all its restarts.

    Attributes:
        trunk_tokens: tokens through the text model in training forwards, the reference's not counted.
        flop: floating point operations of products, forward and backward, reference and recomputation included; see
            `plan.Work`.
        wall_s: seconds in the loop.
        peak_memory_bytes: largest seen: device memory on CUDA, else the process's resident set.
    """

    trunk_tokens: int = 0
    flop: float = 0.0
    wall_s: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True)
class TrainResult:
    """What a stage left.

    Attributes:
        folder: `out/final`, for `load_student` and as the next stage's `start`.
        steps: optimizer steps of the whole stage.
        resumed_from: the step this call went on from; None when it started at the beginning.
        metrics: last line of the log.
        training_ids: sorted instance ids (restricted).
        cost: of the whole stage.
    """

    folder: Path
    steps: int
    resumed_from: int | None
    metrics: Mapping[str, float]
    training_ids: tuple[str, ...]
    cost: Cost
