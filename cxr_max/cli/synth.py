"""`cxr-max synth`."""

from pathlib import Path

import typer

import cxr_max
from cxr_max.cli._options import JSON, OVERWRITE
from cxr_max.cli._written import show


def command(
    out: Path = typer.Option(..., "--out", help="New or empty folder for the world."),
    subjects: int | None = typer.Option(None, "--subjects", help="Number of patients (default 100)."),
    instances: int | None = typer.Option(None, "--instances", help="Number of images shown to the teachers, instead."),
    seed: int = typer.Option(0, "--seed", help="Seed of the world: the same seed and options give the same tree."),
    images: bool = typer.Option(True, "--images/--no-images", help="Write pixels."),
    image_format: str = typer.Option("jpg", "--format", help="Of the pixels: jpg, dicom or both."),
    size: int = typer.Option(512, "--size", help="Longer side of an image in pixels."),
    jobs: int = typer.Option(1, "--jobs", help="Worker processes."),
    error_correlation: float = typer.Option(
        0.5, "--error-correlation", help="How far teachers err together, 0 to 1; an assumption."
    ),
    step_drift: float = typer.Option(0.0, "--step-drift", help="Change of the errors' log-odds along a trajectory."),
    generations: int = typer.Option(1, "--generations", help="Trajectories per teacher and image."),
    teachers: str = typer.Option("", "--teachers", help="Simulate only these, comma-separated."),
    misspellings: float = typer.Option(0.0, "--misspellings", help="Share of clauses with a typo or abbreviation."),
    subtlety: float = typer.Option(0.3, "--subtlety", help="How faint findings are in the pixels, 0 to 1."),
    noise: float = typer.Option(25.0, "--noise", help="Pixel noise in 12-bit grey levels."),
    contrast: float = typer.Option(1.0, "--contrast", help="Factor on the contrast of findings, 0.1 to 2."),
    overwrite: bool = OVERWRITE,
    as_json: bool = JSON,
) -> None:
    """Write a synthetic MIMIC-shaped world with known truth: mimic/, eval/, raw/ (teachers) and truth/.

    Example: cxr-max synth --out world --subjects 200 --format both --jobs 2
    """
    config = cxr_max.synth.WorldConfig(
        subjects=subjects,
        instances=instances,
        seed=seed,
        images=images,
        format=image_format,
        size=size,
        jobs=jobs,
        error_correlation=error_correlation,
        step_drift=step_drift,
        generations=generations,
        teachers=tuple(t for t in teachers.split(",") if t),
        misspellings=misspellings,
        subtlety=subtlety,
        noise=noise,
        contrast=contrast,
    )
    written = cxr_max.synth.write_world(config, out, overwrite=overwrite)
    lines = (
        f"{written.path}: {written.subjects} patients, {written.studies} studies, {written.images} images",
        f"{written.trajectories} trajectories on {written.instances} instances; all of it synthetic",
    )
    show(written, lines, as_json=as_json, synthetic=True)
