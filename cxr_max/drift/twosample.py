"""Two-sample statistics between teachers: energy distance, MMD and C2ST on raw text, content and format."""

from cxr_max.drift.compare import Extra
from cxr_max.drift.config import Config
from cxr_max.drift.encoded import Encoded
from cxr_max.schema import Scannable


def compute(data: Scannable, encoded: Encoded, config: Config) -> Extra:
    """Placeholder filled below."""
    return Extra()
