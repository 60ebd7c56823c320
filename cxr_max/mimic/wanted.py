"""Which files of MIMIC-CXR a release needs, how much they weigh, and the `wget` command that PhysioNet documents."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cxr_max.errors import UnknownNameError
from cxr_max.schema import Scannable

SERVER = "https://physionet.org"
SUMS = "SHA256SUMS.txt"
KINDS: tuple[str, ...] = ("jpg", "dicom", "reports", "tables")

PROJECTS: dict[str, tuple[str, str]] = {
    "jpg": ("mimic-cxr-jpg", "2.1.0"),
    "dicom": ("mimic-cxr", "2.1.0"),
    "reports": ("mimic-cxr", "2.1.0"),
    "tables": ("mimic-cxr-jpg", "2.1.0"),
}
"""Kind of file -> slug and version of the project on PhysioNet that has it."""

TABLES: dict[str, int] = {
    "mimic-cxr-2.0.0-metadata.csv.gz": 15_800_000,
    "mimic-cxr-2.0.0-split.csv.gz": 11_600_000,
    "mimic-cxr-2.0.0-chexpert.csv.gz": 2_000_000,
    "mimic-cxr-2.0.0-negbio.csv.gz": 2_000_000,
    "mimic-cxr-2.1.0-test-set-labeled.csv": 23_200,
}
"""Name -> bytes, as the project's page lists them."""

MEAN_BYTES: dict[str, int] = {"jpg": 1_512_000, "dicom": 12_500_000, "reports": 666}
"""Mean size of one file: 570.3 GB and about 4.7 TB over 377,110 images; 151,686,630 bytes over 227,835 reports."""


@dataclass(frozen=True)
class Wanted:
    """The files that one release needs of one project.

    Attributes:
        kind: one of `KINDS`.
        paths: relative to the project's folder, sorted, each once.
        bytes: estimated size of all of them; from mean sizes, so within some per cent for a thousand files or more.
    """

    kind: str
    paths: tuple[str, ...]
    bytes: int

    @property
    def folder(self) -> str:
        """`slug/version`, which is also where the files go below the root."""
        return "/".join(PROJECTS[self.kind])

    def base(self, server: str = SERVER) -> str:
        """The address that the paths are relative to."""
        return f"{server.rstrip('/')}/files/{self.folder}/"

    def command(self, list_file: str, *, user: str = "USERNAME", server: str = SERVER) -> str:
        """The documented command for a file that holds the paths; fetches into the folder it is started in."""
        words = [
            "wget",
            "-r",
            "-N",
            "-c",
            "-np",
            "-nH",
            "--cut-dirs=1",
            "--user",
            user,
            "--ask-password",
            "-i",
            list_file,
        ]
        return shlex.join([*words, f"--base={self.base(server)}"])


def wanted(release: Scannable, kind: str = "jpg") -> Wanted:
    """The files of one kind that a release needs.

    Args:
        release: anything with `.scan("instances")`.
        kind: jpg | dicom | reports | tables (the same five tables whatever the release).

    Raises:
        UnknownNameError: another kind.
    """
    if kind not in KINDS:
        raise UnknownNameError.of("kind of file", kind, KINDS)
    if kind == "tables":
        return Wanted(kind, tuple(TABLES), sum(TABLES.values()))
    rows = release.scan("instances").select("subject_id", "study_id", "dicom_ids")
    group = pl.col("subject_id").cast(pl.String).str.head(2)
    study = pl.format("files/p{}/p{}/s{}", group, "subject_id", "study_id")
    if kind == "reports":
        path = pl.format("{}.txt", study)
    else:
        rows = rows.explode("dicom_ids").filter(pl.col("dicom_ids").is_not_null())
        path = pl.format("{}/{}" + {"jpg": ".jpg", "dicom": ".dcm"}[kind], study, "dicom_ids")
    paths: Sequence[Any] = rows.select(path.alias("path").unique().sort()).collect().to_series().to_list()
    return Wanted(kind, tuple(paths), len(paths) * MEAN_BYTES[kind])
