"""The user's confirmation that they hold the credentialed-use agreement; nothing is fetched before it."""

import datetime
import json
from pathlib import Path

from cxr_max.errors import UsageError
from cxr_max.folders import config_file, private_dir, write_atomic

VERSION = "PhysioNet Credentialed Health Data Use Agreement 1.5.0"

TEXT = f"""MIMIC-CXR is given to you, personally, under the {VERSION}.
In plain words, and in place of no word of the agreement itself:
  - You are a credentialed PhysioNet user, your training is current, and you have signed the agreement of each project.
  - You try to identify no patient, and no hospital or clinician either.
  - You give no one else access: colleagues sign for themselves. Third parties include online services and APIs of
    language models; what you derive from the data (texts, labels, embeddings, trained models) is covered too.
  - You keep the data on machines and in folders that others cannot open.
  - You use them for lawful scientific research only, and share the code behind published results.
  - You report anything that looks like a patient's identity to PHI-report@physionet.org.
  - These duties stay when you stop using the data."""


def confirmed(user: str) -> bool:
    """Whether this PhysioNet user has confirmed this version of the agreement on this machine."""
    try:
        entries = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(entries, dict) and isinstance(entries.get(user), dict) and entries[user].get("terms") == VERSION


def confirm(user: str) -> None:
    """Store the confirmation beside the user's config file (mode 0600)."""
    try:
        entries = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        entries = {}
    entries = entries if isinstance(entries, dict) else {}
    entries[user] = {"terms": VERSION, "date": datetime.date.today().isoformat()}
    private_dir(_file().parent)
    write_atomic(_file(), json.dumps(entries, indent=2) + "\n", mode=0o600)


def require_confirmed(user: str) -> None:
    """Stop when the agreement has not been confirmed.

    Raises:
        UsageError: it has not.
    """
    if not confirmed(user):
        raise UsageError(
            f"{user} has not confirmed the {VERSION} on this machine",
            next="cxr-max mimic fetch shows it in plain words and asks",
        )


def _file() -> Path:
    return config_file().parent / "agreement.json"
