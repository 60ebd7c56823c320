"""Options that several verbs share: one declaration each, so that they mean the same everywhere; no verb of its own."""

import typer

ROOT = typer.Option([], "--root", metavar="NAME=PATH", help="Where a dataset lies; repeatable.")
MIMIC_ROOT = typer.Option(
    [], "--mimic-root", metavar="DIR", help="Your MIMIC-CXR and MIMIC-CXR-JPG, or a folder above them; repeatable."
)
TRUTH = typer.Option(None, "--truth", metavar="DIR", help="The folder truth of a synthetic world.")
OVERWRITE = typer.Option(False, "--overwrite", help="Replace what an earlier run left there.")
JSON = typer.Option(False, "--json", help="Print the result as JSON.")
