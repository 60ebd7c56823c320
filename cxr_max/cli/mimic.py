"""`cxr-max mimic ...`."""

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import cxr_max
from cxr_max.cli import _fetching
from cxr_max.cli._options import JSON, MIMIC_ROOT, OVERWRITE, ROOT

app = typer.Typer(
    no_args_is_help=True, help="Your own copy of MIMIC-CXR.\n\nExample: cxr-max mimic check --mimic-root /data/mimic"
)
SHOWN = 50
"""Leaks listed on a terminal; `--json` has all of them."""


def _open(root: list[str], mimic_root: list[Path]) -> Any:
    found = cxr_max.roots.resolve(root, mimic_roots=mimic_root)
    names = (*cxr_max.roots.MIMIC_ROOTS, "ms-cxr-t", "ms-cxr")
    return cxr_max.mimic.open_root(*(r for r in found if r.name in names))


@app.command()
def check(root: list[str] = ROOT, mimic_root: list[Path] = MIMIC_ROOT, as_json: bool = JSON) -> None:
    """Show what is there, in which version, what is missing and what that disables.

    Example: cxr-max mimic check --mimic-root /data/mimic-cxr-jpg
    """
    result = cxr_max.mimic.check(_open(root, mimic_root))
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    console = Console(highlight=False)
    table = Table("part", "version", "where, or what is disabled without it")
    for part in result.parts:
        if part.found:
            more = f" (and {len(part.where) - 1} more)" if len(part.where) > 1 else ""
            table.add_row(f"[green]{part.part}[/green]", part.version or "", f"{part.where[0]}{more}")
        else:
            table.add_row(f"[red]{part.part}[/red]", "missing", part.disables, style="dim")
    console.print(table)
    if result.synthetic:
        console.print("marked as synthetic")
    if result.truncated:
        console.print("[yellow]more folders than the search goes into: give a folder nearer to the data[/yellow]")


@app.command()
def join(
    release: Path = typer.Argument(help="A release folder."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for the joined tables (made 0700)."),
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    labeler: str = typer.Option("chexpert", help="Whose labels to join: chexpert, negbio or radiologist."),
    prefer: str = typer.Option("jpg", help="Which image to take where there are both: jpg or dicom."),
    text: bool = typer.Option(True, "--text/--no-text", help="Read and section the reports."),
    verify: bool = typer.Option(False, "--verify", help="Hash images, reports and tables against SHA256SUMS.txt."),
    refresh: bool = typer.Option(False, "--refresh", help="Compute anew, whatever the cache holds."),
    overwrite: bool = OVERWRITE,
    as_json: bool = JSON,
) -> None:
    """Join a release to your MIMIC-CXR and count everything that did not match; exit 1 when ids or hashes contradict.

    Example: cxr-max mimic join cxr-max-1.0.0/ --mimic-root /data/mimic --out joined/
    """
    cxr_max.mimic.check_out(out, overwrite=overwrite)
    options = cxr_max.mimic.Options(labeler=labeler, prefer=prefer, verify=verify)
    opened = cxr_max.open_release(release)
    joined = cxr_max.mimic.join(opened, _open(root, mimic_root), options=options, refresh=refresh)
    written = joined.export(out, text=text)
    counts = joined.coverage.counts()
    if as_json:
        print(json.dumps({"out": str(out), "files": [p.name for p in written], **counts}, indent=2))
    else:
        _show_join(counts)
        print(f"\nwrote {', '.join(p.name for p in written)} to {out}")
    if not joined.coverage.sound:
        raise typer.Exit(1)


_MEANING = {
    "image_status": "images",
    "id_status": "ids in the MIMIC tables",
    "split_status": "split in the MIMIC table",
    "report_status": "reports",
    "label_status": "label rows",
    "agreement": "prompted diagnoses against labels",
    "hash_status": "SHA-256",
    "evaluation_sets": "patients also in",
}


def _show_join(counts: dict[str, Any]) -> None:
    console = Console(highlight=False)
    console.print(f"{counts['instances']:,} instances, {counts['trajectories']:,} trajectories")
    table = Table("what", "instances")
    for what, meaning in _MEANING.items():
        table.add_row(meaning, ", ".join(f"{k} {n:,}" for k, n in counts[what].items()) or "none")
    if counts["bad_tables"]:
        table.add_row("[red]tables with a wrong hash[/red]", ", ".join(counts["bad_tables"]))
    console.print(table)
    rows = [r for r in counts["by_split_and_teacher"] if r["what"] == "image_status"]
    by_teacher = Table("split", "teacher", "images", "trajectories")
    for r in rows:
        by_teacher.add_row(r["split"], r["teacher"], r["value"], f"{r['rows']:,}")
    console.print(by_teacher)


@app.command()
def guard(
    path: Path = typer.Argument(help="A file or folder: release, HTML page, log, checkpoint."),
    root: list[str] = ROOT,
    mimic_root: list[Path] = MIMIC_ROOT,
    as_json: bool = JSON,
) -> None:
    """Look for report text, image bytes and label vectors of MIMIC-CXR where they may not lie; exit 1 when found.

    Example: cxr-max mimic guard drift-out/ --mimic-root /data/mimic-cxr
    """
    report = cxr_max.mimic.guard.guard(path, _open(root, mimic_root))
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        _show_guard(report)
    if not report.ok:
        raise typer.Exit(1)


def _details(leak: Any) -> str:
    if not leak.words:
        return escape(leak.detail)
    return f"{leak.words} words of {'1 or 2' if leak.patients < 3 else '3 or more'} patients' reports"


def _show_guard(report: Any) -> None:
    console = Console(highlight=False, soft_wrap=True)
    had = report.compared
    console.print(
        f"compared with {had['reports']:,} reports of {had['patients']:,} patients, {had['labels']:,} label rows, "
        f"{had['dicom_ids']:,} dicom_ids"
    )
    console.print(
        f"looked at {report.files:,} files ({report.bytes / 2**20:,.1f} MiB): {report.words:,} words, "
        f"{report.pictures:,} pictures, {report.tables:,} tables, in {report.seconds:.1f} s"
    )
    for leak in report.leaks[:SHOWN]:
        console.print(f"[red]{leak.kind}[/red]", escape(f"{leak.where} {leak.at}"), _details(leak), sep="  ")
    for where, reason in report.closed[:SHOWN]:
        console.print(f"not looked into: {where} {reason}", markup=False)
    for what, number in report.allowed.items():
        console.print(f"{what}: {number:,} places where it may lie")
    console.print(f"stock phrases (no leaks): {report.stock:,}")
    total = sum(report.found.values())
    if total:
        console.print(f"[red]{total:,} leaks[/red]: {', '.join(f'{k} {n:,}' for k, n in report.found.items())}")
        if total > SHOWN:
            console.print(f"the first {SHOWN} are shown; --json has more")
    else:
        console.print("[green]nothing found[/green]")


KIND = typer.Option("jpg", "--for", help="jpg, dicom, reports or tables.")
SERVER = typer.Option("https://physionet.org", help="PhysioNet, or a server that behaves like it.")


@app.command(name="fetch-list")
def fetch_list(
    release: Path = typer.Argument(help="A release."),
    kind: str = KIND,
    out: Path | None = typer.Option(None, help="File to write the paths to; standard output otherwise."),
    server: str = SERVER,
    as_json: bool = JSON,
) -> None:
    """List the files a release needs, estimate their size, and give the wget command that PhysioNet documents.

    Example: cxr-max mimic fetch-list cxr-max-1.0.0 --for jpg --out paths.txt
    """
    wanted = cxr_max.mimic.wanted.wanted(cxr_max.data.open_release(release), kind)
    command = wanted.command(str(out) if out else "-", server=server)
    if as_json:
        said = {"kind": kind, "files": len(wanted.paths), "bytes_estimated": wanted.bytes, "command": command}
        print(json.dumps(said | ({} if out else {"paths": list(wanted.paths)}), indent=2))
    if out is not None:
        out.write_text("".join(f"{path}\n" for path in wanted.paths), encoding="utf-8")
    elif not as_json:
        print("\n".join(wanted.paths))
    if not as_json:
        size = f"{wanted.bytes / 1e9:,.1f} GB" if wanted.bytes >= 1e9 else f"{wanted.bytes / 1e6:,.2f} MB"
        typer.echo(f"# {len(wanted.paths):,} files, about {size}\n{command}", err=True)


@app.command()
def fetch(
    release: Path = typer.Argument(help="A release."),
    to: Path = typer.Option(help="Folder for the files; --mimic-root of the other verbs."),
    user: str = typer.Option(help="Your PhysioNet user name."),
    kind: str = KIND,
    password_file: Path | None = typer.Option(None, help="File (mode 0600) whose first line is the password."),
    use_askpass: str | None = typer.Option(None, metavar="PROGRAM", help="Program that prints the password."),
    ca_certificate: Path | None = typer.Option(
        None, envvar="CXR_MAX_CA_CERTIFICATE", help="PEM file of an authority to trust, such as a proxy's."
    ),
    timeout: float = typer.Option(60.0, help="Seconds without a byte after which a connection is given up."),
    server: str = SERVER,
    as_json: bool = JSON,
) -> None:
    """Fetch the files a release needs, whole and verified, with your own wget; exit 1 while any is missing.

    The password is asked for, or comes from --password-file; it is in no argument, environment variable or log.

    Example: cxr-max mimic fetch cxr-max-1.0.0 --to /data/mimic --user NAME --for jpg
    """
    wanted = cxr_max.mimic.wanted.wanted(cxr_max.data.open_release(release), kind)
    _fetching.agree(user)
    login = _fetching.login(user, password_file, use_askpass, server)
    wget = cxr_max.mimic.wget.Wget(login, ca_certificate=ca_certificate, timeout=timeout)
    with _fetching.Bar(kind) as bar:
        report = cxr_max.mimic.fetch.fetch(wanted, to, wget, server=server, watch=bar)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        _fetching.show(report)
    if not report.ok:
        raise typer.Exit(1)
