"""Publish a release: as the bundle PhysioNet expects, or to a dataset repository of the Hub.

What may leave is decided by class. The index may be public. The derived tables go to a private repository with manual
gating only, after the user has typed a statement that is kept in the manifest of the pushed copy; derived and public
together are refused, and nothing overrides that. Synthetic releases go anywhere.

A published version is never overwritten; a push that broke off goes on where it stopped when it is repeated.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cxr_max.data import clearance, hub, index, layout, locate, manifest
from cxr_max.data.locate import Located
from cxr_max.errors import CheckFailedError, DataError, RestrictedDataError, UsageError
from cxr_max.folders import cache_dir, is_restricted, private_dir
from cxr_max.optional import require

CLASSES: tuple[str, ...] = ("index", "derived")
STATEMENT = "I state that every member of {repo} is credentialed for MIMIC-CXR and that our agreement allows this host."
"""What must be typed, word for word, before a derived release is pushed."""

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Target:
    """Where a release is to go on the Hub.

    Attributes:
        repo: `org/name` of a dataset repository; made when it does not exist.
        data_class: index or derived.
        public: make a new repository public; an existing one keeps its visibility.
        statement: what the user typed, or a function that asks for it given the sentence.
        token: the Hub's token.
    """

    repo: str
    data_class: str = "index"
    public: bool = False
    statement: "str | Callable[[str], str] | None" = None
    token: "str | bool | None" = None


@dataclass(frozen=True)
class Published:
    """What was done.

    Attributes:
        repo: the repository.
        tag: `vX.Y.Z`.
        commit: what the tag names.
        data_class: of what was pushed.
        files: number of files of the version.
        already: the version had been published before with the same content; nothing was sent.
    """

    repo: str
    tag: str
    commit: str
    data_class: str
    files: int
    already: bool


def publish(release: Any, target: Target) -> Published:
    """Push a release and tag it `vX.Y.Z`.

    Args:
        release: a folder or open release.
        target: where to.

    Raises:
        UsageError: no ORG/NAME, or an unknown class.
        RestrictedDataError: the class may not go there.
        CheckFailedError: the version is published with other content, or the release's files are not the manifest's.
        DataError, MissingFileError: a broken release, or the Hub is out of reach.
    """
    if not _REPO.fullmatch(target.repo):
        raise UsageError(f"{target.repo!r} is not ORG/NAME")
    if target.data_class not in CLASSES:
        raise UsageError(f"unknown class {target.data_class!r}; known: {', '.join(CLASSES)}")
    located = locate.locate(release)
    restricted = target.data_class == "derived" and is_restricted(located.synthetic)
    if restricted and target.public:
        raise RestrictedDataError(
            "a derived release may not be public; no option changes that", next="publish --physionet DIR"
        )
    if target.data_class == "derived" and index.data_class(located.manifest) == "index":
        raise UsageError(f"{located} is an index; it cannot be published as derived", next="publish it as index")
    clearance.check(located)
    statement = _statement(target) if restricted else None
    client = hub.api(target.token)
    _prepare(client, target, restricted)
    staged = _index_of(located) if _needs_index(located, target) else located
    files = {name: staged.path / name for name in staged.manifest["files"]}
    made = _manifest(staged, target, statement, client)
    done = _push(client, target, made, files, restricted)
    if staged is not located:
        shutil.rmtree(staged.path, ignore_errors=True)
    return done


def _needs_index(located: Located, target: Target) -> bool:
    return target.data_class == "index" and index.data_class(located.manifest) == "derived"


def _statement(target: Target) -> str:
    wanted = STATEMENT.format(repo=target.repo)
    typed = target.statement(wanted) if callable(target.statement) else target.statement
    if " ".join((typed or "").split()) != wanted:
        raise RestrictedDataError(
            f"a derived release is pushed only after this statement was typed, word for word: {wanted}",
            next='--statement "..." or answer the prompt',
        )
    return wanted


def _index_of(located: Located) -> Located:
    folder = private_dir(cache_dir() / "publish") / located.sha256[:32]
    if not (folder / layout.MANIFEST).is_file():
        # Left by a run that was killed; what it wrote is written again, to the same bytes.
        private_dir(folder)
        index.write(located, folder)
    return locate.read(folder, source=f"the index of {located.source}")


def _manifest(staged: Located, target: Target, statement: str | None, client: Any) -> bytes:
    if statement is None:
        return (staged.path / layout.MANIFEST).read_bytes()
    who = hub.talk("your account", client.whoami)
    made = dict(staged.manifest)
    made["publication"] = {
        "repo": target.repo,
        "class": target.data_class,
        "statement": statement,
        "by": str(who.get("name", "")),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    made[manifest.SELF] = manifest.self_hash(made)
    return (json.dumps(made, indent=1, sort_keys=True) + "\n").encode()


def _prepare(client: Any, target: Target, restricted: bool) -> None:
    """The repository exists and may hold this class."""
    private = restricted or not target.public
    hub.talk(
        f"the repository {target.repo}",
        lambda: client.create_repo(target.repo, repo_type="dataset", private=private, exist_ok=True),
    )
    if not restricted:
        return
    if not _info(client, target).private:
        raise _not_private(target)
    hub.talk(
        f"the settings of {target.repo}",
        lambda: client.update_repo_settings(target.repo, repo_type="dataset", gated="manual"),
    )
    _check_closed(client, target)


def _check_closed(client: Any, target: Target) -> None:
    info = _info(client, target)
    if not info.private:
        raise _not_private(target)
    if info.gated != "manual":
        raise RestrictedDataError(
            f"{target.repo} is not gated by hand (gated: {info.gated!r}); a derived release needs that",
            next="set 'Access requests: manual approval' in the repository's settings",
        )


def _still_closed(client: Any, target: Target) -> None:
    """Someone may have opened the repository while the files were on their way; then no version gets a name."""
    try:
        _check_closed(client, target)
    except RestrictedDataError as e:
        raise RestrictedDataError(
            f"{e.problem}; that was seen only after the files had been sent",
            next="close or delete the repository at once, then see who had access",
        ) from e


def _not_private(target: Target) -> RestrictedDataError:
    return RestrictedDataError(
        f"{target.repo} is public; a derived release may not be public, and no option changes that",
        next="make the repository private, or publish --physionet DIR",
    )


def _info(client: Any, target: Target) -> Any:
    return hub.talk(f"the repository {target.repo}", lambda: client.dataset_info(target.repo))


def _push(client: Any, target: Target, made: bytes, files: Mapping[str, Path], restricted: bool) -> Published:
    entries = json.loads(made)
    tag = f"v{entries['version']}"
    done = _published(client, target, tag)
    if done is not None:
        _compare(entries, _remote_manifest(client, target, tag), f"{target.repo}@{tag}", published=True)
        return Published(target.repo, tag, done, target.data_class, len(files) + 1, already=True)
    head = _remote_manifest(client, target, "main")
    if head is not None:
        _compare(entries, head, target.repo, published=False)
    commit = hub.talk(f"version {tag} to {target.repo}", lambda: _commit(client, target, tag, made, files))
    if restricted:
        _still_closed(client, target)
    hub.talk(
        f"the tag {tag} of {target.repo}",
        lambda: client.create_tag(target.repo, tag=tag, revision=commit, repo_type="dataset", exist_ok=True),
    )
    if _published(client, target, tag) != commit:
        raise CheckFailedError(
            f"{target.repo}@{tag} was published by someone else in the meantime", next="raise the version"
        )
    return Published(target.repo, tag, commit, target.data_class, len(files) + 1, already=False)


def _published(client: Any, target: Target, tag: str) -> str | None:
    refs = hub.talk(f"the versions of {target.repo}", lambda: client.list_repo_refs(target.repo, repo_type="dataset"))
    return next((str(t.target_commit) for t in refs.tags if t.name == tag), None)


def _remote_manifest(client: Any, target: Target, revision: str) -> dict[str, Any] | None:
    names = hub.talk(
        f"the files of {target.repo}@{revision}",
        lambda: client.list_repo_files(target.repo, repo_type="dataset", revision=revision),
    )
    if layout.MANIFEST not in names:
        return None
    folder = private_dir(cache_dir() / "publish") / "remote" / target.repo.replace("/", "--")
    hub.fetch(target.repo, revision, [layout.MANIFEST], folder, token=target.token)
    try:
        return dict(json.loads((folder / layout.MANIFEST).read_bytes()))
    except ValueError as e:
        raise DataError(f"the manifest of {target.repo}@{revision} is not JSON") from e


def _compare(mine: Mapping[str, Any], theirs: Mapping[str, Any] | None, where: str, *, published: bool) -> None:
    """Raise when what lies there is of another kind, or is this version with other content."""
    if theirs is None:
        raise CheckFailedError(f"{where} exists and holds no release", next="choose another repository or version")
    kinds = [(index.data_class(m), bool(m.get("synthetic"))) for m in (mine, theirs)]
    if kinds[0] != kinds[1]:
        words = [f"{c}, {'synthetic' if s else 'real'}" for c, s in kinds]
        raise RestrictedDataError(
            f"{where} holds releases of another kind ({words[1]}; this one is {words[0]}): their history would mix",
            next="use a repository of its own for each kind",
        )
    same = mine["version"] == theirs.get("version")
    if published and not (same and mine["release_hash"] == theirs.get("release_hash")):
        raise CheckFailedError(
            f"{where} is published with other content; a published version is never overwritten",
            next="build with a higher version; cxr-max diff shows what changed",
        )


def _commit(client: Any, target: Target, tag: str, made: bytes, files: Mapping[str, Path]) -> str:
    """One commit with exactly these files; parts of earlier versions that are no longer in it are removed."""
    add, delete = require("huggingface_hub").CommitOperationAdd, require("huggingface_hub").CommitOperationDelete
    there = client.list_repo_files(target.repo, repo_type="dataset")
    # Made anew for each attempt: an operation remembers what it did.
    operations = [add(layout.MANIFEST, made), *(add(name, str(path)) for name, path in sorted(files.items()))]
    operations += [delete(n) for n in there if layout.parse_shard(n) is not None and n not in files]
    done = client.create_commit(
        target.repo, operations, commit_message=f"cxr-max {tag} ({target.data_class})", repo_type="dataset"
    )
    return str(done.oid)
