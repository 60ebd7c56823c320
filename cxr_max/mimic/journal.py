"""What a fetch has verified, one JSON object a line, appended as files get their final names."""

import datetime
import json
from pathlib import Path


class Journal:
    """A file of lines `{"path", "bytes", "sha256", "verified"}`; it holds ids of studies, so it stays under the root.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, path: str, size: int, digest: str) -> None:
        """Add a file that was verified."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"path": path, "bytes": size, "sha256": digest, "verified": now}) + "\n")

    def read(self) -> dict[str, tuple[int, str]]:
        """path -> (bytes, SHA-256 in hex); a line that a kill cut short is passed over."""
        known = {}
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        for line in lines:
            try:
                entry = json.loads(line)
                known[str(entry["path"])] = (int(entry["bytes"]), str(entry["sha256"]))
            except (ValueError, KeyError, TypeError):
                continue
        return known
