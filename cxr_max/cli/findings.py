"""`cxr-max findings`."""

import json
import sys

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import cxr_max
from cxr_max.cli._options import JSON

STYLES = {"present": "bold red", "uncertain": "bold yellow", "absent": "green"}


def command(
    text: str = typer.Argument(help="The text itself, the path of a text file, or - for standard input."),
    role: str = typer.Option("candidate", help="candidate (a teacher's answer, may be a refusal) or reference."),
    as_json: bool = JSON,
) -> None:
    """Show the findings of a text: marked in it, as a table with side, zone and rule, and as the 14 labels.

    Example: cxr-max findings "Small left effusion. No pneumothorax; possible edema."
    """
    body = sys.stdin.read() if text == "-" else cxr_max.findings.read_text(text)
    report = cxr_max.findings.report(body, role=role)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    marked = Text(body)
    for f in report["findings"]:
        marked.stylize(STYLES[f["status"]], f["start"], f["end"])
    console.print(marked)
    table = Table(title="Findings", title_justify="left")
    for name in ("concept", "status", "where", "label", "words", "rule"):
        table.add_column(name, overflow="fold", no_wrap=name in ("concept", "status"))
    for f in report["findings"]:
        where = " ".join(part for part in (f["side"], f["zone"]) if part)
        words = Text(body[f["start"] : f["end"]])
        table.add_row(f["concept"], Text(f["status"], STYLES[f["status"]]), where, f["label"] or "", words, f["rule"])
    console.print(table)
    named = {name: value for name, value in report["labels"].items() if value is not None}
    console.print("labels   " + (", ".join(f"{name} {value}" for name, value in named.items()) or "none"))
    generic = sum(s["generic"] for s in report["steps"])
    console.print(f"steps    {len(report['steps'])}, {generic} of them generic; lexicon {report['lexicon_version']}")
    if report["refusal"]:
        console.print("refusal  nothing is asserted about the image")
