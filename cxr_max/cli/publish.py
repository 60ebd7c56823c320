"""`cxr-max publish`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import cxr_max
from cxr_max.cli._options import JSON, OVERWRITE


def command(
    release: Annotated[Path, typer.Argument(help="Folder of a release.")],
    physionet: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the bundle PhysioNet expects into this folder.")
    ] = None,
    repo: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Push to this dataset of the Hub.")] = None,
    data_class: Annotated[
        str, typer.Option("--class", help="What to push: index (ids, splits, counts, hashes) or derived (texts).")
    ] = "index",
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; never possible for derived.")
    ] = False,
    statement: Annotated[
        str | None, typer.Option(help="The statement a derived push asks for, word for word; else you are asked.")
    ] = None,
    overwrite: bool = OVERWRITE,
    as_json: bool = JSON,
) -> None:
    """Publish a release: as a PhysioNet bundle, or its public index (or, gated and private, all of it) to the Hub.

    Example: cxr-max publish cxr-max --physionet bundle
    """
    if (physionet is None) == (repo is None):
        raise cxr_max.errors.UsageError(
            "name one of --physionet DIR (the usual way) and --repo ORG/NAME",
            next=f"cxr-max publish {release} --physionet DIR",
        )
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if physionet is not None:
        place = cxr_max.data.physionet.bundle(release, physionet, overwrite=overwrite)
        if as_json:
            print(json.dumps({"bundle": str(place)}))
            return
        console.print(f"bundle    {place}")
        console.print("next      complete the passages in [brackets] in README.md, then upload it as a new project")
        console.print("          on physionet.org with MIMIC-CXR and MIMIC-CXR-JPG as parent projects")
        return
    target = cxr_max.data.publish.Target(
        repo=str(repo), data_class=data_class, public=public, statement=statement or _ask
    )
    done = cxr_max.data.publish.publish(release, target)
    if as_json:
        print(json.dumps(asdict(done)))
        return
    state = "was published already, nothing was sent" if done.already else f"{done.files} files"
    console.print(f"{done.repo}@{done.tag} ({done.data_class}): {state}; commit {done.commit[:12]}")


def _ask(sentence: str) -> str:
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    console.print("A derived release may go to a private repository with manual gating only. Type this, word for word:")
    console.print(f"  {sentence}")
    try:
        console.print("> ", end="")
        return input()
    except EOFError:
        return ""
