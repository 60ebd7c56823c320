"""How likely each option is as the continuation of an answer that has begun, in nats per token."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from cxr_max.align import logprobs
from cxr_max.align.pack import pack
from cxr_max.align.render import Renderer, Segmenter
from cxr_max.align.types import GroupLogps, PreferenceGroup, RenderedGroup
from cxr_max.errors import CheckFailedError, DataError, UsageError
from cxr_max.evaluation.types import Failure, Output, Sample

TOLERANCE = {torch.float32: 1e-3}
COARSE = 0.1
"""Difference allowed between shared and unshared prefixes in 16-bit floats, nats per token."""


@dataclass(frozen=True)
class Begun(Sample):
    """A question whose answer has begun: `options` are scored as its continuations, nothing is written.

    Attributes:
        prefix: the beginning of the answer, up to where the options go on.
    """

    prefix: str = ""


class _Span(NamedTuple):
    start: int
    end: int


class Continuations:
    """Scores options as continuations, by the log-probabilities that training uses.

    Image, question and beginning go through the model once for all options where that is exact for the model; else
    each option is scored by the model's own forward.

    Args:
        model: of transformers, or a PEFT model.
        renderer: of the model.
        images: False leaves the images out.
    """

    def __init__(self, model: Any, renderer: Renderer, *, images: bool = True) -> None:
        self.model, self.images = model, images
        # A student of template diagnose begins its reasoning with a mark.
        self._opening = "<think>" if renderer.template == "diagnose" else ""
        self._renderer = replace(renderer, template="rationale", max_completion=None)
        self._shared: bool | None = None

    def score(self, sample: Begun) -> Output | Failure:
        """Log-probability per token of every option, and the likeliest of them as the answer.

        Tokens that hold the option's first character or a later one are its tokens.
        """
        try:
            group = self._rendered(sample)
        except DataError as error:
            return Failure(error.problem)
        logps = self._logps(group)
        per_token = (logps.policy_BK / logps.n_tokens_BK)[0].tolist()
        best = max(range(len(per_token)), key=per_token.__getitem__)
        return Output(sample.options[best], tuple(map(float, per_token)))

    def _rendered(self, sample: Begun) -> RenderedGroup:
        begun = self._opening + sample.prefix
        rendered = []
        for option in sample.options:
            span = _Span(len(begun), len(begun) + len(option))
            renderer = replace(self._renderer, segment=_only(span))
            image = str(sample.images[0]) if sample.images and self.images else None
            group = PreferenceGroup(sample.id, (), (begun + option,), ("option",), prompt=sample.prompt, image=image)
            rendered.append(renderer.render(group))
        first = rendered[0]
        return replace(
            first,
            completion_ids=tuple(r.completion_ids[0] for r in rendered),
            scored=tuple(_steps(r) == 0 for r in rendered),
            sources=("option",) * len(rendered),
            steps=None,
        )

    def _logps(self, group: RenderedGroup) -> GroupLogps:
        with torch.inference_mode():
            if self._shared is None:
                self._shared = self._is_exact([group])
            return logprobs.packed_logps(self.model, pack([group])) if self._shared else self._naive(group)

    def _naive(self, group: RenderedGroup) -> GroupLogps:
        return logprobs.naive_logps(self.model, [group])

    def _is_exact(self, groups: Sequence[RenderedGroup]) -> bool:
        dtype = next(self.model.parameters()).dtype
        try:
            logprobs.verify_exact(self.model, groups, tolerance=TOLERANCE.get(dtype, COARSE))
        except (CheckFailedError, UsageError, DataError, AttributeError):
            return False
        return True


def _only(span: _Span) -> Segmenter:
    return lambda text: (span,)


def _steps(group: RenderedGroup) -> torch.Tensor:
    if group.steps is None or not bool((group.steps[0] == 0).any()):
        raise DataError("an option has no token of its own")
    return group.steps[0]
