"""Reference log-probabilities: computed once, kept on disk, never taken for another model's.

A cache belongs to one reference: model, adapter, dtype, processor and template, all in its key. Opening it under
another key is refused, naming what differs. Inside, a row is found by a hash of the image's pixels and of every token
id of prefix and completion, so a changed image, prompt, tokenizer or truncation is another row, never a stale one.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxr_max import folders
from cxr_max.align.features import FeatureStore
from cxr_max.align.logprobs import packed_logps
from cxr_max.align.pack import PackedBatch, pack
from cxr_max.align.types import GroupLogps, RenderedGroup
from cxr_max.errors import DataError, UsageError

ENGINE = 1
"""Raised when the engine's numbers change, so that older caches are refused."""


@dataclass(frozen=True)
class ReferenceKey:
    """What reference log-probabilities depend on beside image and tokens.

    Attributes:
        model: name and revision, or better `fingerprint` of the reference model.
        dtype: the model computes in, for example `bfloat16`.
        adapter: `off` when the reference is the model with its adapter disabled, else the fingerprint of the one on.
        processor: settings of the image processor, as it writes them.
        template: name of the template.
        engine: version of the arithmetic.
    """

    model: str
    dtype: str
    adapter: str = "off"
    processor: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    engine: int = ENGINE

    def text(self) -> str:
        """The key as JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, default=str)


class ReferenceCache:
    """A file of reference log-probabilities, one row per completion; safe to kill at any time and to share.

    Log-probabilities are of class derived: a cache of real data goes to a restricted folder.

    Args:
        folder: where the cache lies; made when absent.
        key: what the rows depend on.
        synthetic: the data are synthetic, so the folder need not be restricted.

    Raises:
        DataError: the folder holds a cache of another reference; the fields that differ are named.
        RestrictedDataError: the folder lies in a git work tree and the data are real.
    """

    def __init__(self, folder: Path, key: ReferenceKey, *, synthetic: bool = False) -> None:
        folders.output_dir(folder, synthetic=synthetic)
        self._path = folder / "reference.sqlite"
        with self._open() as db:
            db.execute("CREATE TABLE IF NOT EXISTS key (only INTEGER PRIMARY KEY CHECK (only = 0), text TEXT NOT NULL)")
            db.execute("CREATE TABLE IF NOT EXISTS logps (entry TEXT PRIMARY KEY, tokens BLOB NOT NULL) WITHOUT ROWID")
            db.execute("INSERT OR IGNORE INTO key VALUES (0, ?)", (key.text(),))
            (kept,) = db.execute("SELECT text FROM key").fetchone()
        if kept != key.text():
            old, new = json.loads(kept), json.loads(key.text())
            differs = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
            raise DataError(
                f"the cache of reference log-probabilities is another reference's: {', '.join(differs)} differ",
                next="give another folder, or delete this one",
            )

    def __len__(self) -> int:
        with self._open() as db:
            return int(db.execute("SELECT COUNT(*) FROM logps").fetchone()[0])

    def get(self, group: RenderedGroup) -> list[Tensor] | None:
        """Per column the [T] log-probabilities of all its tokens, in float32, or None when a column is not there.

        Raises:
            DataError: a row has another length than its completion; the file is damaged.
        """
        with self._open() as db:
            rows = [db.execute("SELECT tokens FROM logps WHERE entry = ?", (e,)).fetchone() for e in entries(group)]
        if any(row is None for row in rows):
            return None
        found = [torch.from_numpy(np.frombuffer(row[0], dtype="<f4").copy()) for row in rows]
        if [len(x) for x in found] != [len(ids) for ids in group.completion_ids]:
            raise DataError("the cache of reference log-probabilities is damaged", next="delete its folder")
        return found

    def put(self, group: RenderedGroup, token_logps: list[Tensor]) -> None:
        """Keep the log-probabilities of a group's columns."""
        blobs = [x.detach().cpu().float().numpy().astype("<f4").tobytes() for x in token_logps]
        with self._open() as db:
            db.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?)", list(zip(entries(group), blobs, strict=True)))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # A connection per use: data loaders fork, and SQLite's connections must not cross a fork.
        db = sqlite3.connect(self._path, timeout=60)
        try:
            with db:
                yield db
        except sqlite3.DatabaseError as error:
            raise DataError(
                "the cache of reference log-probabilities cannot be read", next="delete its folder"
            ) from error
        finally:
            db.close()


def entries(group: RenderedGroup) -> list[str]:
    """One hash per column over image, prefix, completion and what of it is scored."""
    found = []
    for ids_T, on_T in zip(group.completion_ids, group.scored, strict=True):
        digest = hashlib.sha256(group.image_key.encode())
        for part in (group.prefix_ids_P, ids_T, on_T.long()):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part.contiguous().numpy().astype("<i8").tobytes())
        found.append(digest.hexdigest())
    return found


def reference_logps(
    model: Any,
    batch: PackedBatch,
    *,
    cache: ReferenceCache | None = None,
    reference: Any = None,
    attention: str = "auto",
    store: FeatureStore | None = None,
) -> GroupLogps:
    """Log-probabilities of a batch under the reference model, from the cache where they are there.

    Only groups that the cache lacks go through the model, without gradient and in evaluation mode, so that dropout
    of an adapter does not reach the reference.

    Args:
        model: the policy; when it carries a PEFT adapter the reference is the model with the adapter disabled, which
            is pi_st only if the supervised stage was merged into the base before the adapter was added.
        batch: packed groups.
        cache: where to look first, and to keep what is computed.
        reference: another model to use as the reference.
        attention: as for `packed_logps`.
        store: image features of a frozen vision tower.

    Raises:
        UsageError: the policy has no adapter and no reference is given: it would be its own reference.
    """
    known = [cache.get(g) if cache is not None else None for g in batch.groups]
    missing = [g for g, k in zip(batch.groups, known, strict=True) if k is None]
    computed: Iterator[list[Tensor]] = iter(())
    if missing:
        few = pack(missing, layout="rows" if len(batch.input_ids_LS) > 1 else "flat")
        group = _forward(model, reference, few, attention=attention, store=store)
        assert group.token_policy_BKT is not None
        per_group = [
            [group.token_policy_BKT[i, k, : len(ids)] for k, ids in enumerate(g.completion_ids)]
            for i, g in enumerate(missing)
        ]
        for g, token_logps in zip(missing, per_group, strict=True):
            if cache is not None:
                cache.put(g, token_logps)
        computed = iter(per_group)
    rows = [next(computed) if k is None else k for k in known]
    return _as_policy(batch, rows)


def with_reference(policy: GroupLogps, reference: GroupLogps) -> GroupLogps:
    """The policy's groups with the reference's numbers beside them."""
    tokens = reference.token_policy_BKT
    device = policy.policy_BK.device
    return policy.with_reference(reference.policy_BK.to(device), None if tokens is None else tokens.to(device))


def fingerprint(module: nn.Module) -> str:
    """Hash of every weight and its name; two models with the same one compute the same.

    Some 20 s for 7 B weights; take it once per run.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _forward(model: Any, reference: Any, batch: PackedBatch, **kwargs: Any) -> GroupLogps:
    if reference is None and not hasattr(model, "disable_adapter"):
        raise UsageError(
            "the policy has no adapter to disable and no reference model is given",
            next="pass reference=, or train a LoRA adapter on the merged supervised model",
        )
    used = model if reference is None else reference
    off = model.disable_adapter() if reference is None else nullcontext()
    training = used.training
    used.eval()
    try:
        with off, torch.no_grad():
            return packed_logps(used, batch, **kwargs)
    finally:
        used.train(training)


def _as_policy(batch: PackedBatch, rows: list[list[Tensor]]) -> GroupLogps:
    """Token log-probabilities as groups: what a loss reads as the reference."""
    token_BKT = torch.zeros(batch.shape_BKT)
    scored_BKT = torch.zeros(batch.shape_BKT, dtype=torch.bool)
    for i, (group, columns) in enumerate(zip(batch.groups, rows, strict=True)):
        for k, (x, on_T) in enumerate(zip(columns, group.scored, strict=True)):
            token_BKT[i, k, : len(x)] = x.to(token_BKT.device)
            scored_BKT[i, k, : len(on_T)] = on_T
    return GroupLogps(
        policy_BK=token_BKT.sum(-1),
        n_tokens_BK=scored_BKT.sum(-1),
        mask_BK=scored_BKT.any(-1),
        token_policy_BKT=token_BKT,
        token_mask_BKT=scored_BKT,
    )
