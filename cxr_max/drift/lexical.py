"""How alike a trajectory and its report are, word by word (tfidf) and by meaning (encoder).

`similarity_tfidf` is lexical: word 1-grams, lower case, inverse document frequencies fitted on the references only,
since a teacher's score must not depend on the other teachers; cosine. `similarity_<encoder>` is semantic: mean of both
directed maximal cosines over sentences. NaN where either text is empty or holds no known word.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cxr_max import findings
from cxr_max.drift import sources
from cxr_max.drift.config import Config
from cxr_max.folders import cache_dir, private_dir
from cxr_max.optional import require
from cxr_max.schema import Scannable

Floats = NDArray[np.float64]
DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def reference_texts(data: Scannable, section: str) -> pl.DataFrame | None:
    """instance_id and `text` of the chosen section(s) of every report of the data, null where there is none."""
    table = sources.scan(data, "references")
    if table is None:
        return None
    columns = ["findings", "impression"] if section == "both" else [section]
    joined = pl.concat_str([pl.col(c).str.strip_chars() for c in columns], separator="\n", ignore_nulls=True)
    text = pl.when(joined.str.strip_chars().str.len_chars() > 0).then(joined)
    return table.select("instance_id", text.alias("text")).collect()


def similarities(data: Scannable, frames: sources.Frames, config: Config) -> dict[str, Floats]:
    """Name -> similarity per trajectory; empty without references."""
    references = reference_texts(data, config.section)
    if references is None:
        return {}
    out = {"similarity_tfidf": tfidf(data, frames, references)}
    kind, _, path = config.similarity.partition(":")
    if kind == "encoder":
        encoder = Encoder(path or DEFAULT_ENCODER)
        out[f"similarity_{encoder.short}"] = encoder.similarity(data, frames, references)
    return out


def vectorizer(written: Sequence[str]) -> Any:
    """A TF-IDF vectoriser fitted on references; None when they hold no word."""
    text = require("sklearn.feature_extraction.text", extra="drift")
    fitted = text.TfidfVectorizer(lowercase=True, ngram_range=(1, 1), norm="l2", dtype=np.float64)
    try:
        return fitted.fit(written)
    except ValueError:
        return None


def tfidf(data: Scannable, frames: sources.Frames, references: pl.DataFrame) -> Floats:
    """Cosine per trajectory; the frequencies are those of all reports of the data, each text once."""
    result = np.full(len(frames.trajectories), np.nan)
    unique = references["text"].drop_nulls().unique().sort()
    fitted = vectorizer(unique.to_list()) if len(unique) else None
    if fitted is None:
        return result
    rows = pl.DataFrame({"text": unique}).with_row_index("r")
    owner = frames.instances.select("i", "instance_id").join(references, on="instance_id").join(rows, on="text")
    row_I = np.full(len(frames.instances), -1, dtype=np.int64)
    row_I[owner["i"].to_numpy()] = owner["r"].to_numpy()
    matrix = fitted.transform(unique.to_list())
    instance_T = frames.trajectories["i"].to_numpy()
    for ts, written in sources.texts(data, frames):
        t = np.asarray(ts)
        row = row_I[instance_T[t]]
        has = np.flatnonzero(row >= 0)
        candidates = fitted.transform([written[k] for k in has])
        cosine = np.asarray(candidates.multiply(matrix[row[has]]).sum(axis=1)).ravel()
        empty = (np.diff(candidates.indptr) == 0) | (np.diff(matrix.indptr)[row[has]] == 0)
        result[t[has]] = np.where(empty, np.nan, cosine)
    return result


class Encoder:
    """A sentence encoder whose vectors are kept by content hash in the user's private cache.

    Args:
        model: name or folder of a sentence-transformers model.
    """

    def __init__(self, model: str) -> None:
        self.short = model.rstrip("/").rpartition("/")[2]
        self._model = require("sentence_transformers", extra="drift").SentenceTransformer(model, device="cpu")
        weights = hashlib.sha256()
        for name, value in sorted(self._model.state_dict().items()):
            weights.update(name.encode())
            weights.update(value.cpu().numpy().tobytes())
        self.config_hash = weights.hexdigest()[:16]
        folder = private_dir(cache_dir() / "embeddings")
        self._store = sqlite3.connect(folder / f"{self.config_hash}.sqlite")
        self._store.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB)")

    def vectors(self, sentences: Sequence[str]) -> Floats:
        """Unit vectors, one row per sentence; only sentences that were never seen are encoded."""
        keys = [hashlib.sha256(s.encode()).hexdigest() for s in sentences]
        known = self._known(set(keys))
        new = {k: s for k, s in zip(keys, sentences, strict=True) if k not in known}
        if new:
            made = self._model.encode(list(new.values()), batch_size=64, show_progress_bar=False)
            rows = [(k, np.asarray(v, dtype=np.float32).tobytes()) for k, v in zip(new, made, strict=True)]
            with self._store:
                self._store.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            known.update(self._known(set(new)))
        if not keys:
            return np.zeros((0, 1))
        stacked = np.stack([known[k] for k in keys]).astype(np.float64)
        return np.asarray(stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-12))

    def _known(self, keys: set[str]) -> dict[str, Any]:
        found = {}
        ordered = sorted(keys)
        for start in range(0, len(ordered), 500):
            some = ordered[start : start + 500]
            # Only placeholders are put into the statement.
            query = f"SELECT key, vector FROM vectors WHERE key IN ({','.join('?' * len(some))})"
            found.update({k: np.frombuffer(v, dtype=np.float32) for k, v in self._store.execute(query, some)})
        return found

    def pairwise(self, candidates: Iterable[str], references: Iterable[str]) -> Floats:
        """Mean of both directed maximal cosines over sentences, one value per pair; NaN where a side is empty."""
        values = []
        for candidate, reference in zip(candidates, references, strict=True):
            sides = [[s.text for s in findings.segment(text)] for text in (candidate, reference)]
            if not sides[0] or not sides[1]:
                values.append(float("nan"))
                continue
            cosine = self.vectors(sides[0]) @ self.vectors(sides[1]).T
            values.append(float(cosine.max(axis=1).mean() + cosine.max(axis=0).mean()) / 2)
        return np.array(values)

    def similarity(self, data: Scannable, frames: sources.Frames, references: pl.DataFrame) -> Floats:
        """Similarity per trajectory, NaN without a reference."""
        result = np.full(len(frames.trajectories), np.nan)
        joined = frames.instances.select("i", "instance_id").join(references, on="instance_id", how="left").sort("i")
        text_I = joined["text"].to_list()
        instance_T = frames.trajectories["i"].to_numpy()
        for ts, written in sources.texts(data, frames):
            pairs = [(t, w, text_I[instance_T[t]]) for t, w in zip(ts, written, strict=True)]
            pairs = [p for p in pairs if p[2] is not None]
            result[[t for t, _, _ in pairs]] = self.pairwise((w for _, w, _ in pairs), (r for _, _, r in pairs))
        return result
