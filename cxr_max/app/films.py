"""A sheet of synthetic films with what is planted in each, for the summary page."""

from pathlib import Path

import polars as pl
from PIL import Image, ImageDraw

from cxr_max import mimic

WIDTH, CAPTION = 200, 34


def sheet(world: Path, out: Path, *, columns: int = 4, rows: int = 2) -> int:
    """Write a PNG of frontal films, one a study, each under the findings that are planted in it.

    Args:
        world: folder of a synthetic world with images.
        out: the PNG to write.
        columns: films in a row.
        rows: rows of films.

    Returns:
        How many films are shown; fewer where the world has fewer.
    """
    states = pl.read_parquet(world / "truth" / "states.parquet").filter(pl.col("level") > 0)
    side = pl.when(pl.col("side").n_unique() > 1).then(pl.lit("bilateral")).otherwise(pl.col("side").first())
    planted = states.group_by("study_id", "concept", maintain_order=True).agg(side.fill_null("").alias("side"))
    words = pl.concat_str(["side", pl.col("concept").str.replace_all("_", " ")], separator=" ").str.strip_chars()
    told = planted.group_by("study_id").agg(words.alias("words"))
    names = dict(zip(told["study_id"], told["words"], strict=True))
    root = mimic.open_root(world / "mimic")
    frontal = root.metadata().filter(pl.col("ViewPosition").is_in(["PA", "AP"])).unique("study_id", keep="first")
    films = frontal.sort("study_id").head(columns * rows).collect()
    paper = Image.new("L", (columns * WIDTH, rows * (WIDTH + CAPTION)), 255)
    pen = ImageDraw.Draw(paper)
    for i, film in enumerate(films.iter_rows(named=True)):
        x, y = (i % columns) * WIDTH, (i // columns) * (WIDTH + CAPTION)
        image = mimic.read_image(next((world / "mimic" / "files").rglob(f"{film['dicom_id']}.*")))
        image.thumbnail((WIDTH - 4, WIDTH - 4))
        paper.paste(image, (x + 2, y + 2))
        text = names.get(film["study_id"], [])
        pen.multiline_text((x + 4, y + WIDTH + 2), "\n".join(text[:2]) + (" ..." if len(text) > 2 else ""), fill=0)
    out.parent.mkdir(parents=True, exist_ok=True)
    paper.save(out)
    return len(films)
