"""What `cxr-max mimic fetch` asks and shows; no verb of its own."""

import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

import cxr_max


def agree(user: str) -> None:
    """Show the agreement in plain words, once, and stop unless it is confirmed."""
    agreement = cxr_max.mimic.agreement
    if agreement.confirmed(user):
        return
    typer.echo(agreement.TEXT + "\n", err=True)
    if not typer.confirm(f"{user}: all of this holds for me, and I will keep to it", default=False, err=True):
        typer.echo("nothing was fetched", err=True)
        raise typer.Exit(2)
    agreement.confirm(user)


def login(user: str, password_file: Path | None, askpass: str | None, server: str) -> Any:
    """The login; its password from a file, from a helper program, or asked for."""
    wget = cxr_max.mimic.wget
    if askpass is not None:
        return wget.Login(user, wget.ask_program(askpass, user, server))
    if password_file is not None:
        return wget.Login(user, wget.read_password(password_file))
    return wget.Login(user, typer.prompt(f"PhysioNet password of {user}", hide_input=True, err=True))


class Bar:
    """Files, bytes, rate and remaining time on a terminal; elsewhere a line now and then."""

    def __init__(self, kind: str) -> None:
        console = Console(stderr=True)
        self._lines = None if console.is_terminal else console
        self._shown = -1
        columns = (
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[files]}"), DownloadColumn(),
            TransferSpeedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[state]}"),
        )  # fmt: skip
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task(kind, files="", state="")

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, now: Any) -> None:
        """Show where the work stands."""
        files = f"{now.files:,}/{now.of_files:,} files"
        state = f"server busy, again in {now.pausing:.0f} s" if now.pausing else ""
        self._bar.update(self._task, total=now.of_bytes, completed=now.bytes, files=files, state=state)
        tenth = now.files * 10 // max(now.of_files, 1)
        if self._lines is not None and (tenth != self._shown or now.pausing):
            self._shown = tenth
            self._lines.print(f"{files}, {now.rate / 1e6:.1f} MB/s{', ' + state if state else ''}", highlight=False)


def show(report: Any) -> None:
    """Say what is there and what is not."""
    out = sys.stdout
    rate = report.bytes / 1e6 / max(report.seconds, 1e-9)
    out.write(f"{report.verified:,} of {report.wanted:,} {report.kind} files are there and verified; ")
    out.write(
        f"{report.fetched:,} came now ({report.bytes / 1e6:,.1f} MB in {report.seconds:.0f} s, {rate:.1f} MB/s)\n"
    )
    for reason, number in sorted(report.missing.items()):
        out.write(f"missing: {number:,} files: {reason}\n")
    if report.missing_list:
        out.write(f"which: {report.missing_list}; the same command again goes on\n")
