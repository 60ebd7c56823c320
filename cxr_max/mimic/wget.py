"""The real `wget` as a child process: PhysioNet answers basic auth to no other client, and we pretend to be none.

The password goes to wget in a config file that has mode 0600 and no name: it is unlinked before a byte is written, and
wget reads it through its file descriptor. So nothing is left of it however the processes end. It is in no argument, no
environment variable and no log.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cxr_max.errors import MissingExtraError, UsageError

_SAVED = re.compile(r'URL:(\S+) \[[^\]]*\] -> "(.+)" \[\d+\]$')
_ADDRESS = re.compile(r"^(https?://\S+):$")
_STATUS = re.compile(r"ERROR (\d{3})\b")
_TLS, _AUTH = 5, 6
"""Exit codes of wget."""
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Login:
    """Who asks. The password never shows in `repr`.

    Attributes:
        user: PhysioNet user name.
        password: theirs.
    """

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """How one run of wget went.

    Attributes:
        code: exit code.
        saved: addresses of the files it calls complete.
        status: address -> HTTP status of those the server refused.
    """

    code: int
    saved: frozenset[str]
    status: dict[str, int]

    @property
    def refused_login(self) -> bool:
        """User name or password were wrong."""
        return self.code == _AUTH or 401 in self.status.values()

    @property
    def broken_tls(self) -> bool:
        """The server's certificate could not be verified."""
        return self.code == _TLS


@dataclass(frozen=True)
class Wget:
    """A wget ready to run.

    Attributes:
        login: who asks.
        ca_certificate: PEM file with the authority of the server's (or a proxy's) certificate; None for the system's.
        timeout: seconds without a byte before a connection is given up.
        inherit: file descriptors that wget keeps open, such as that of a lock.
    """

    login: Login
    ca_certificate: Path | None = None
    timeout: float = 60.0
    inherit: tuple[int, ...] = ()

    def run(self, base: str, paths: Sequence[str], into: Path, on_saved: Callable[[], None]) -> Outcome:
        """Fetch files into a folder, below `slug/version/`; what is there in part is continued.

        Args:
            base: address the paths are relative to.
            paths: relative paths.
            into: existing folder.
            on_saved: called after each file that wget calls complete.

        Raises:
            MissingExtraError: there is no wget.
        """
        program = shutil.which("wget")
        if program is None:
            raise MissingExtraError("wget is not installed", next="install GNU wget with your system's package manager")
        with tempfile.TemporaryFile(buffering=0) as config:
            os.fchmod(config.fileno(), 0o600)
            config.write(self._config())
            config.seek(0)
            process = subprocess.Popen(
                [program, *self._arguments(config.fileno(), base, into)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=os.environ | {"LC_ALL": "C"},
                pass_fds=(config.fileno(), *self.inherit),
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                text=True,
                errors="replace",
            )
            try:
                return self._follow(process, paths, on_saved)
            finally:
                process.kill()
                process.wait()

    def _arguments(self, config: int, base: str, into: Path) -> list[str]:
        words = [
            f"--config=/dev/fd/{config}", "--no-verbose", "--continue", "--force-directories", "--no-host-directories",
            "--cut-dirs=1", "--no-hsts", "--tries=1", f"--timeout={self.timeout:g}",
            f"--directory-prefix={into}", f"--base={base}", "--input-file=-",
        ]  # fmt: skip
        if self.ca_certificate is not None:
            words.append(f"--ca-certificate={self.ca_certificate}")
        return words

    def _config(self) -> bytes:
        return f"http_user = {self.login.user}\nhttp_password = {self.login.password}\n".encode()

    @staticmethod
    def _follow(process: "subprocess.Popen[str]", paths: Sequence[str], on_saved: Callable[[], None]) -> Outcome:
        assert process.stdin is not None
        assert process.stderr is not None
        with suppress(BrokenPipeError), process.stdin as file:
            file.write("\n".join([*paths, ""]))
        saved, status, address = set(), dict[str, int](), ""
        for line in process.stderr:
            line = line.rstrip()
            if match := _SAVED.search(line):
                saved.add(match[1])
                on_saved()
            elif match := _ADDRESS.match(line):
                address = match[1]
            elif match := _STATUS.search(line):
                status[address] = int(match[1])
        return Outcome(process.wait(), frozenset(saved), status)


def check_login(login: Login) -> Login:
    """The login itself when wget can be told of it.

    Raises:
        UsageError: a config file of wget cannot hold the user name or password.
    """
    for what, value in (("user name", login.user), ("password", login.password)):
        if value != value.strip() or re.search(r"[\x00-\x1f\x7f]", value) or not value:
            raise UsageError(
                f"this {what} is empty, begins or ends with a space, or holds a control character: a config file of "
                "wget cannot hold it",
                next="choose another one on PhysioNet",
            )
    return login


def read_password(path: Path) -> str:
    """The first line of a password file.

    Raises:
        UsageError: others may read the file, or it cannot be read.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise UsageError(f"others may read {path}", next=f"chmod 600 {path}")
        return path.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"cannot read the password file {path}: {type(e).__name__}") from e


def ask_program(program: str, user: str, server: str) -> str:
    """The password as a helper program gives it, called like `git` and `ssh` do: prompt as argument, answer on stdout.

    wget's own `--use-askpass` is not handed through: wget 1.21 asks anew for every single file, and not at all for
    files that come from a list. So the program is asked once, here.

    Raises:
        UsageError: it cannot be run, fails, or says nothing.
    """
    prompt = f"Password for '{server.replace('://', f'://{user}@')}': "
    try:
        done = subprocess.run([program, prompt], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().partition("\n")[0].rstrip("\r")
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError) as e:
        raise UsageError(f"{program} gave no password: {type(e).__name__}") from e


def _die_with_parent() -> None:
    """On Linux a child dies with its parent only when it asks to: 1 is PR_SET_PDEATHSIG."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGKILL)
