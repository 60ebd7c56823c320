"""What the zero-shot tasks share: one yes-or-no question per image and class, graded by AUC.

The macro mean over classes is the score of the literature. Beside it stands the AUC `pooled` over all images and
classes (micro), which a model may raise by knowing which findings are frequent.

The text-only control is the same command with `images=false` in --model-args and another --out. A class has one
question, so a model that sees no image gives all its images one logit: the AUC of each class is .5 by construction, and
anything else is an error of ours. What the control measures here is the pooled AUC, the part of skill that needs no
image; its signature says `text-only`, so it never stands in the column of a model with images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from cxr_max.errors import MissingFileError
from cxr_max.evaluation import ask
from cxr_max.evaluation.types import Context, Item, Measure, Sample

POOLED = "pooled over classes"


def load(
    context: Context,
    labels: pl.DataFrame,
    classes: Iterable[str],
    *,
    file_of: Callable[[Mapping[str, str]], Path | None],
    name: str = "image",
) -> list[Item]:
    """Ask every class of every image; a label that is null is not asked.

    Args:
        context: for the limit, which counts questions.
        labels: one row an image, with `patient` and the classes as 1, 0 or null.
        classes: the classes in order.
        file_of: the image file of a row, or None when it is not there.
        name: the column that names the row.

    Raises:
        MissingFileError: not one of the images is there.
    """
    rows = [(row, file_of(row)) for row in labels.iter_rows(named=True)]
    if not any(path for _, path in rows):
        raise MissingFileError(f"none of the {len(rows)} images lies under the root", next="cxr-max roots show")
    items = []
    for row, path in rows:
        for c in classes:
            if row[c] is not None:
                prompt = ask.presence(c)
                images = (path,) if path else ()
                sample = Sample(f"{row[name]}/{c}", prompt, images, ask.YES_NO, row["patient"], finding=c)
                items.append(Item(sample, int(row[c]), c))
    return ask.limited(items, context.limit)


def measures(items: Sequence[Item], read: str) -> list[Measure]:
    """AUC of each class that was asked, and of all questions together; NaN where one of the labels is absent."""
    of_classes = [ask.auc_measure(mine, c, read) for c, mine in ask.grouped(items).items()]
    return [*of_classes, replace(ask.auc_measure(items, POOLED, read), averaged=False)]
