"""How likely each option is as the beginning of a model's answer, over the ways it is written; nothing is sampled."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from cxr_max.evaluation import inputs
from cxr_max.evaluation.inputs import Encoded

Surfaces = tuple[tuple[tuple[int, ...], ...], ...]
"""Per option the token ids of each way it is written."""


def surfaces(tokenizer: Any, options: Sequence[str]) -> Surfaces:
    """Token ids of `Yes`, `yes` and ` Yes` for an option `yes`; the same ids are taken once."""
    found = []
    for option in options:
        written = (option.capitalize(), option, f" {option.capitalize()}")
        ids = (tuple(tokenizer(w, add_special_tokens=False)["input_ids"]) for w in written)
        found.append(tuple(dict.fromkeys(ids)))
    return tuple(found)


def contexts(written: Surfaces) -> tuple[tuple[int, ...], ...]:
    """The beginnings that have to be read so that every token of every surface gets a probability.

    A beginning that another one continues is left out. One empty beginning when all surfaces are single tokens.
    """
    begins = {ids[:-1] for option in written for ids in option}
    return tuple(sorted(b for b in begins if not any(o != b and o[: len(b)] == b for o in begins)))


def option_scores(log_p: dict[tuple[int, ...], float], written: Surfaces) -> tuple[float, ...]:
    """One score an option: log of the summed probability of its surfaces.

    Args:
        log_p: log-probability of each surface, summed over its tokens; divided by their number when surfaces differ in
            it, so that a longer word is not less likely for its length alone.
        written: the surfaces of each option.
    """
    lengths = {len(ids) for option in written for ids in option}
    scores = []
    for option in written:
        values = [log_p[ids] / (len(ids) if len(lengths) > 1 else 1) for ids in option]
        top = max(values)
        scores.append(top + math.log(sum(math.exp(v - top) for v in values)) if math.isfinite(top) else top)
    return tuple(scores)


def score(model: Any, questions: Sequence[Encoded], written: Surfaces, *, pad: int) -> list[tuple[float, ...]]:
    """Scores of the options for each question, by the model's own forward on a left-padded batch.

    Args:
        model: a transformers model that reads text, or text and images.
        questions: encoded questions, all with the same options.
        written: from `surfaces`.
        pad: id of the padding token.
    """
    begins = contexts(written)
    rows = [inputs.extended(q, b) for q in questions for b in begins]
    parameter = next(model.parameters())
    batch = inputs.batch(rows, pad=pad, device=parameter.device, dtype=parameter.dtype)
    keep = max(map(len, begins)) + 1
    with inputs.inference(model):
        logits = model(**batch, use_cache=False, logits_to_keep=keep).logits[:, -keep:]
        log_p_RKV = logits.float().log_softmax(-1).cpu()
    found = []
    for i in range(len(questions)):
        mine = log_p_RKV[i * len(begins) : (i + 1) * len(begins)]
        log_p = {ids: _of(ids, begins, mine) for option in written for ids in option}
        found.append(option_scores(log_p, written))
    return found


def _of(ids: tuple[int, ...], begins: Sequence[tuple[int, ...]], log_p_BKV: torch.Tensor) -> float:
    """Log-probability of a surface from the row whose beginning it shares."""
    row = next(i for i, b in enumerate(begins) if b[: len(ids) - 1] == ids[:-1])
    first = log_p_BKV.shape[1] - 1 - len(begins[row])
    return float(sum(log_p_BKV[row, first + k, token] for k, token in enumerate(ids)))
