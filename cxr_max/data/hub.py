"""The Hub, as far as releases need it: resolve a revision, fetch files into a private folder, and say what went wrong.

Files go to a folder of ours and not to the Hub client's shared cache, where other users of the machine could read them.
"""

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from cxr_max.errors import CxrMaxError, DataError, MissingFileError, RestrictedDataError
from cxr_max.folders import cache_dir, private_dir, write_atomic
from cxr_max.optional import require

T = TypeVar("T")
ATTEMPTS = 5
_PAUSE = 0.5
_FIXED = re.compile(r"v?\d+\.\d+\.\d+\S*|[0-9a-f]{40}")


def api(token: "str | bool | None" = None) -> Any:
    """A client (`huggingface_hub.HfApi`) of the configured endpoint."""
    return require("huggingface_hub").HfApi(token=token, library_name="cxr-max")


def resolve(repo: str, revision: str | None, *, token: "str | bool | None" = None) -> str:
    """The commit a revision of a dataset stands for.

    Raises:
        MissingFileError: no such dataset or revision.
        RestrictedDataError: it is gated and access was not granted, or a login is needed.
        DataError: the Hub cannot be reached.
    """
    info = talk(f"{repo}@{revision or 'main'}", lambda: api(token).dataset_info(repo, revision=revision))
    return str(info.sha)


def commit_of(repo: str, revision: str | None, refs: Path, *, token: "str | bool | None" = None) -> str:
    """As `resolve`; when the Hub is out of reach, a tag or commit that was resolved before is taken from `refs`.

    Raises:
        As `resolve`.
    """
    kept = refs / (revision or "main").replace("/", "--")
    try:
        commit = resolve(repo, revision, token=token)
    except DataError:
        # A branch may have moved meanwhile; versions (tags) and commits stand.
        if revision is None or not _FIXED.fullmatch(revision) or not kept.is_file():
            raise
        return kept.read_text(encoding="ascii")
    _closed(refs)
    write_atomic(kept, commit, mode=0o600)
    return commit


def fetch(repo: str, commit: str, names: Iterable[str], folder: Path, *, token: "str | bool | None" = None) -> None:
    """Bring files of one commit into `folder` (0700, with all its parents up to our cache); an interrupted one resumes.

    Raises:
        As `resolve`; MissingFileError also when the commit lacks a file.
    """
    _closed(folder)
    client = api(token)
    for name in names:
        talk(f"{name} of {repo}", _download(client, repo, commit, name, folder))


def _closed(folder: Path) -> None:
    """Make a folder of the cache, and every folder above it up to the cache itself, with mode 0700."""
    root = cache_dir()
    for above in reversed((folder, *folder.parents)):
        if above.is_relative_to(root):
            private_dir(above)


def _download(client: Any, repo: str, commit: str, name: str, folder: Path) -> Callable[[], Any]:
    return lambda: client.hf_hub_download(repo, name, repo_type="dataset", revision=commit, local_dir=folder)


def talk(what: str, call: Callable[[], T], *, attempts: int = ATTEMPTS) -> T:
    """Make a call to the Hub; faults of server and line are retried, refusals become our errors.

    Args:
        what: what was being reached, for the message.
        call: the call; must be safe to repeat.
        attempts: how often to try.

    Raises:
        MissingFileError, RestrictedDataError, DataError: as described in `resolve`.
    """
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except CxrMaxError:
            raise
        except Exception as e:
            refusal = _refusal(what, e)
            if refusal is not None:
                raise refusal from e
            if not _from_the_line(e):
                raise
            if attempt == attempts or not _passing(e):
                raise DataError(
                    f"the Hub did not deliver {what}: {_reason(e)}",
                    next="try again; what was transferred already is kept",
                ) from e
        time.sleep(_PAUSE * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _refusal(what: str, error: Exception) -> CxrMaxError | None:
    errors = require("huggingface_hub.errors")
    status = _status(error)
    if isinstance(error, errors.GatedRepoError):
        return RestrictedDataError(
            f"{what} is gated and access has not been granted to you ({status})",
            next="ask for access on the dataset's page; then: hf auth login",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return MissingFileError(f"no such revision: {what}", next="versions are tags such as v1.2.0")
    if status == 401 or isinstance(error, errors.LocalTokenNotFoundError):
        return RestrictedDataError(f"the Hub does not know you: {what} (401)", next="hf auth login, or check the name")
    if isinstance(error, errors.RepositoryNotFoundError):
        return MissingFileError(f"no such dataset, or it is private and you have no access: {what}")
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
        return None
    if isinstance(error, errors.EntryNotFoundError):
        return MissingFileError(f"the dataset has no such file: {what}")
    if status == 403:
        return RestrictedDataError(f"the Hub refuses: {what} (403)", next="check that your token may do this")
    return None


def _status(error: BaseException | None) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _from_the_line(error: Exception) -> bool:
    """Whether server or network are to blame; everything else is a fault of ours and stays visible."""
    both = (error, error.__cause__)
    return any(isinstance(e, OSError) or type(e).__module__.startswith(("http", "requests", "urllib3")) for e in both)


def _passing(error: Exception) -> bool:
    errors = require("huggingface_hub.errors")
    if isinstance(error, errors.OfflineModeIsEnabled) or isinstance(error.__cause__, errors.OfflineModeIsEnabled):
        return False
    status = _status(error) or _status(error.__cause__)
    return status is None or status in (408, 409, 412, 429) or status >= 500


def _reason(error: Exception) -> str:
    status = _status(error) or _status(error.__cause__)
    return f"status {status}" if status else type(error.__cause__ or error).__name__
