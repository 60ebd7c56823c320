"""Fetch exactly the files of MIMIC-CXR that a release needs, whole and verified, with the real `wget`.

Files arrive in `ROOT/.cxr-max-fetch/`, are compared with the project's SHA256SUMS.txt there, and only then get their
final names, `ROOT/<slug>/<version>/...`; so nothing half-written or wrong ever stands under one, whenever the work is
killed. Starting again continues: what is verified is in the journal, what came in part is resumed.
"""

import fcntl
import os
import random
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cxr_max.errors import CheckFailedError, DataError, RestrictedDataError, UsageError
from cxr_max.folders import fsync_dir, private_dir, refuse_git, write_atomic
from cxr_max.mimic import agreement, sums
from cxr_max.mimic.journal import Journal
from cxr_max.mimic.wanted import SERVER, SUMS, Wanted
from cxr_max.mimic.wget import Outcome, Wget, check_login

STAGE = ".cxr-max-fetch"
_BATCH_BYTES = 200_000_000
_LOCK_SECONDS = 10.0
_SUMS_BYTES = 52_000_000


@dataclass(frozen=True)
class Patience:
    """How long to go on when nothing arrives.

    Attributes:
        stalls: runs of wget in a row that bring nothing, after which we stop.
        pause: seconds of the first pause between them; it doubles each time.
        longest: seconds of the longest pause.
        wrong: times a file may arrive with wrong bytes.
    """

    stalls: int = 8
    pause: float = 1.0
    longest: float = 120.0
    wrong: int = 3


@dataclass(frozen=True)
class Progress:
    """Where the work stands: files and (estimated) bytes that are there, of how many; bytes a second of this run."""

    files: int
    of_files: int
    bytes: int
    of_bytes: int
    rate: float
    pausing: float = 0.0


@dataclass(frozen=True)
class FetchReport:
    """What is there and what is not.

    Attributes:
        kind: of file.
        wanted: files wanted.
        verified: files under their final names with the right hash.
        fetched: how many of them came in this run.
        bytes: bytes that came in this run.
        missing: reason -> number of files.
        missing_list: file that lists what is missing and why; None when nothing is.
        seconds: wall time.
    """

    kind: str
    wanted: int
    verified: int
    fetched: int
    bytes: int
    missing: dict[str, int]
    missing_list: Path | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every file is there and verified."""
        return not self.missing

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return vars(self) | {"ok": self.ok, "missing_list": str(self.missing_list) if self.missing_list else None}


Watcher = Callable[[Progress], None]


def fetch(
    wanted: Wanted,
    root: Path,
    wget: Wget,
    *,
    server: str = SERVER,
    patience: Patience | None = None,
    watch: Watcher | None = None,
) -> FetchReport:
    """Fetch what is not there yet.

    Args:
        wanted: from `cxr_max.mimic.wanted`.
        root: where to; made with mode 0700 when it does not exist.
        wget: with the login.
        server: https address of PhysioNet, or of a server that behaves like it.
        patience: when to give up.
        watch: told of the progress.

    Raises:
        UsageError: the agreement is not confirmed, wrong user name or password, an untrusted certificate, too little
            room, no https, or another fetch at work on this root.
        RestrictedDataError: the account may not read the project, or the root lies in a git work tree.
        CheckFailedError: the server does not answer, or has no SHA256SUMS.txt.
        DataError: SHA256SUMS.txt is malformed.
        MissingExtraError: there is no wget.
    """
    agreement.require_confirmed(wget.login.user)
    check_login(wget.login)
    if not server.startswith("https://"):
        raise UsageError(f"{server} is not an https address; a password goes over nothing else")
    refuse_git(root)
    if not root.exists():
        private_dir(root)
    with _locked(private_dir(root / STAGE)) as lock:
        wget = replace(wget, inherit=(*wget.inherit, lock))
        run = _Run(wanted, root.absolute(), wget, server, patience or Patience(), watch or (lambda _: None))
        return run.all()


@contextmanager
def _locked(stage: Path) -> Iterator[int]:
    """One fetch at a time; wget inherits the lock, so that one that outlives us holds it too."""
    handle = os.open(stage / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise UsageError(f"another fetch is at work in {stage.parent}", next="let it end first") from None
                time.sleep(0.2)
        yield handle
    finally:
        os.close(handle)


@dataclass
class _Run:
    wanted: Wanted
    root: Path
    wget: Wget
    server: str
    patience: Patience
    watch: Watcher
    start: float = field(default_factory=time.monotonic)
    verified: int = 0
    came: int = 0
    arrived: int = 0
    done: set[str] = field(default_factory=set)
    wrong: Counter[str] = field(default_factory=Counter)
    stuck: Counter[str] = field(default_factory=Counter)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def stage(self) -> Path:
        return self.root / STAGE

    @property
    def journal(self) -> Journal:
        return Journal(self.stage / "journal.jsonl")

    def all(self) -> FetchReport:
        expected = self.hashes()
        queue = []
        for path in self.wanted.paths:
            if path.removeprefix("files/") not in expected:
                self.missing[path] = f"not in the server's {SUMS}"
            else:
                queue.append(path)
        queue = self.absent(queue, expected)
        self.room(len(queue))
        self.tell()
        self.work(deque(queue), expected)
        listed = self.stage / "missing.txt"
        if self.missing:
            write_atomic(listed, "".join(f"{p}\t{why}\n" for p, why in sorted(self.missing.items())), mode=0o600)
        else:
            listed.unlink(missing_ok=True)
        return FetchReport(
            kind=self.wanted.kind,
            wanted=len(self.wanted.paths),
            verified=self.verified,
            fetched=len(self.done),
            bytes=self.came,
            missing=dict(Counter(self.missing.values())),
            missing_list=listed if self.missing else None,
            seconds=time.monotonic() - self.start,
        )

    def hashes(self) -> dict[str, str]:
        """Hashes of the wanted files, from SHA256SUMS.txt, which is fetched first."""
        final, draft = self.final(SUMS), self.draft(SUMS)
        pauses = 0
        while not final.is_file():
            outcome = self.wget.run(self.wanted.base(self.server), [SUMS], self.stage, lambda: None)
            # Exit code 0 without having saved anything: an earlier run was killed after the last byte.
            if (self.address(SUMS) in outcome.saved or outcome.code == 0) and draft.is_file():
                _check_sums(draft)
                self.settle(draft, final)
                break
            self.stop_at(outcome)
            pauses += 1
            if pauses > self.patience.stalls:
                raise CheckFailedError(
                    f"{self.server} does not give {SUMS} of {self.wanted.folder}",
                    next="try again later; what came is kept",
                )
            self.pause(pauses)
        return sums.read([final], {path.removeprefix("files/") for path in self.wanted.paths})

    def absent(self, paths: Iterable[str], expected: dict[str, str]) -> list[str]:
        """The files that are not there with the right hash; those that are, are counted."""
        known = self.journal.read()
        rest = []
        for path in paths:
            digest = expected[path.removeprefix("files/")]
            final, noted = self.final(path), known.get(f"{self.wanted.folder}/{path}")
            try:
                size = final.stat().st_size
                if noted == (size, digest) or sums.digest(final) == digest:
                    self.verified += 1
                    if noted != (size, digest):
                        self.note(path, size, digest)
                    continue
            except OSError:
                pass
            rest.append(path)
        return rest

    def room(self, files: int) -> None:
        needed = self.wanted.bytes * files // max(len(self.wanted.paths), 1)
        free = shutil.disk_usage(self.root).free
        if free < needed * 0.9:
            raise UsageError(
                f"about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free at {self.root}",
                next="choose another --to, or a release with fewer instances",
            )

    def work(self, queue: "deque[str]", expected: dict[str, str]) -> None:
        size = max(1, self.wanted.bytes // max(len(self.wanted.paths), 1))
        batch_size = min(max(_BATCH_BYTES // size, 16), 1_000)
        stalls = 0
        while queue:
            # While nothing comes, each file may take a whole timeout.
            batch = [queue.popleft() for _ in range(min(4 if stalls else batch_size, len(queue)))]
            before = {path: _size(self.draft(path)) for path in batch}
            outcome = self.run(batch)
            moved = False
            for path in batch:
                moved |= self.judge(path, expected[path.removeprefix("files/")], outcome, before[path])
                if path not in self.done and path not in self.missing:
                    queue.append(path)
            self.tell()
            stalls = 0 if moved else stalls + 1
            if outcome.refused_login or outcome.broken_tls:
                self.stop_at(outcome)
            if stalls > self.patience.stalls:
                self.missing |= dict.fromkeys(queue, "the server did not answer")
                return
            if stalls and queue:
                self.pause(stalls)

    def judge(self, path: str, digest: str, outcome: Outcome, before: int) -> bool:
        """Settle, keep or drop what came of one file; whether there is any progress."""
        draft = self.draft(path)
        size = _size(draft)
        status = outcome.status.get(self.address(path))
        if size >= 0 and sums.digest(draft) == digest:
            self.settle(draft, self.final(path))
            self.note(path, size, digest)
            self.done.add(path)
            self.verified, self.came = self.verified + 1, self.came + size
            return True
        if status == 404:
            self.missing[path] = "the server has no such file (404)"
        elif status == 403:
            self.missing[path] = "the server forbids it (403)"
        elif size >= 0 and (self.address(path) in outcome.saved or outcome.code == 0):
            draft.unlink()
            self.wrong[path] += 1
            if self.wrong[path] >= self.patience.wrong:
                self.missing[path] = f"wrong bytes, {self.patience.wrong} times"
        elif 0 <= size == before:
            # A part that the server may be unable to continue: from the beginning then.
            self.stuck[path] += 1
            if self.stuck[path] % self.patience.wrong == 0:
                draft.unlink()
        return size > before or path in self.missing

    def run(self, paths: Sequence[str]) -> Outcome:
        self.arrived = 0
        outcome = self.wget.run(self.wanted.base(self.server), paths, self.stage, self._one_more)
        self.arrived = 0
        return outcome

    def _one_more(self) -> None:
        self.arrived += 1
        self.tell()

    def stop_at(self, outcome: Outcome) -> None:
        """Errors that no second try mends."""
        if outcome.refused_login:
            raise UsageError("the server refuses this user name or password", next="check both; nothing is tried again")
        if outcome.broken_tls:
            raise UsageError(
                "the server's certificate is not trusted",
                next="behind a proxy with its own authority: --ca-certificate FILE or $CXR_MAX_CA_CERTIFICATE",
            )
        status = outcome.status.get(self.address(SUMS))
        if status == 403:
            raise RestrictedDataError(
                f"this account may not read {self.wanted.folder}",
                next="sign the agreement on the project's page, and be credentialed",
            )
        if status == 404:
            raise CheckFailedError(f"{self.server} has no {self.wanted.folder}/{SUMS}", next="check --server")

    def pause(self, n: int) -> None:
        seconds = min(self.patience.pause * 2 ** (n - 1), self.patience.longest) * random.uniform(0.75, 1.25)
        self.tell(pausing=seconds)
        time.sleep(seconds)

    def tell(self, pausing: float = 0.0) -> None:
        total = len(self.wanted.paths)
        mean = self.wanted.bytes // max(total, 1)
        files = self.verified + self.arrived
        rate = (self.came + self.arrived * mean) / max(time.monotonic() - self.start, 1e-9)
        self.watch(Progress(files, total, files * mean, self.wanted.bytes, rate, pausing))

    def address(self, path: str) -> str:
        return self.wanted.base(self.server) + path

    def final(self, path: str) -> Path:
        return self.root / self.wanted.folder / path

    def draft(self, path: str) -> Path:
        return self.stage / self.wanted.folder / path

    def settle(self, draft: Path, final: Path) -> None:
        """Give a whole file its final name."""
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(draft, final)
        fsync_dir(final.parent)

    def note(self, path: str, size: int, digest: str) -> None:
        self.journal.note(f"{self.wanted.folder}/{path}", size, digest)


def _size(path: Path) -> int:
    """Bytes of a file; -1 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _check_sums(path: Path) -> None:
    content = path.read_bytes()
    lines = content.splitlines()
    if not content.endswith(b"\n") or not lines or any(len(x) < 66 or x[64:65] != b" " for x in (lines[0], lines[-1])):
        path.unlink()
        raise DataError(f"{SUMS} of the server is malformed or cut short", next="try again")
