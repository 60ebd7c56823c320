"""`cxr_max.load_dataset`: the stable door to a release as a Hugging Face dataset; needs no hook in `datasets`."""

from typing import Any

from datasets.utils.info_utils import is_small_dataset

from cxr_max.data.builder import DEFAULT, CxrMax
from cxr_max.errors import UsageError

_BUILDER_ARGUMENTS = ("cache_dir", "features", "token", "storage_options")
_PREPARE_ARGUMENTS = ("download_config", "download_mode", "verification_mode", "num_proc", "storage_options")


def load_dataset(
    name: str = DEFAULT,
    *,
    release: Any = None,
    revision: str | None = None,
    mimic_root: Any = None,
    split: Any = None,
    streaming: bool = False,
    **kw: Any,
) -> Any:
    """Load one table of a release.

    Args:
        name: trajectories, instances, steps, findings, consensus, preferences, or synthetic (built in, offline).
        release: a folder, `org/name`, `org/name@v1.0.0`, or None for `$CXR_MAX_RELEASE`, else `./cxr-max`, else the
            only release in the cache. The choice is printed and kept in `ds.info.version.description`.
        revision: a version the release must be, or a revision on the Hub.
        mimic_root: your MIMIC-CXR folder (or several); rows are joined to images, reports and labels.
        split: train, validation, test, their aliases (validate, val, dev), slices and sums; None for all of them.
        streaming: iterate without materialising.
        **kw: cache_dir, num_proc, keep_in_memory, features, token, download_mode, verification_mode,
            storage_options, download_config, as in `datasets.load_dataset`.

    Returns:
        Dataset, DatasetDict, IterableDataset or IterableDatasetDict.

    Raises:
        UsageError: an argument that is unknown or not allowed together with another.
        As `cxr_max.data.builder.CxrMax`.
    """
    known = {*_BUILDER_ARGUMENTS, *_PREPARE_ARGUMENTS, "keep_in_memory"}
    if unknown := sorted(set(kw) - known):
        raise UsageError(f"unknown argument {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    if streaming and kw.get("num_proc") is not None:
        raise UsageError("num_proc does not go with streaming=True", next="use several DataLoader workers")
    builder = CxrMax(
        config_name=name,
        release=release,
        revision=revision,
        mimic_root=mimic_root,
        **{k: kw[k] for k in _BUILDER_ARGUMENTS if k in kw},
    )
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare(**{k: kw[k] for k in _PREPARE_ARGUMENTS if kw.get(k) is not None})
    keep = kw.get("keep_in_memory")
    if keep is None:
        keep = is_small_dataset(builder.info.dataset_size)
    return builder.as_dataset(split=split, in_memory=keep)
