"""A join as a PyTorch dataset."""

from collections.abc import Callable
from typing import Any

from cxr_max.optional import require

_Base: Any = require("torch.utils.data", extra="train").Dataset


class TorchDataset(_Base):  # type: ignore[misc]
    """Map-style dataset over rows of a join; images are decoded in the worker that asks for a row.

    Attributes:
        rows: a `datasets.Dataset`, as `Joined.dataset` gives it.
        transform: called on each row (a dict with `image` as PIL image or None); None leaves it as it is.
    """

    def __init__(self, rows: Any, transform: Callable[[dict[str, Any]], Any] | None = None) -> None:
        self.rows = rows
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        row = self.rows[int(index)]
        return self.transform(row) if self.transform else row
