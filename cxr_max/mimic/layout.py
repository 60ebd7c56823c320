"""What of MIMIC-CXR and MIMIC-CXR-JPG lies under a user's folders, in any of the shapes local copies have.

Recognised: the plain tree (`files/p10/p10000032/s50414267/<dicom_id>.jpg`), the tree of `wget -r`
(`physionet.org/files/<slug>/<version>/files/...`, stray `index.html` included), flat or resized folders of
`<dicom_id>.jpg`, reports beside the study folders or in a zip, tables as `.csv` or `.csv.gz`; any of these in folders
of their own. Nothing is ever written under a root.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

import polars as pl

from cxr_max import roots
from cxr_max.errors import MissingFileError, UnknownNameError
from cxr_max.mimic import tables
from cxr_max.schema import LABELERS

TABLE_FILES: dict[str, str] = {
    "metadata": r"mimic-cxr-\d+\.\d+\.\d+-metadata\.csv",
    "split": r"mimic-cxr-\d+\.\d+\.\d+-split\.csv",
    "chexpert": r"mimic-cxr-\d+\.\d+\.\d+-chexpert\.csv",
    "negbio": r"mimic-cxr-\d+\.\d+\.\d+-negbio\.csv",
    "radiologist": r"mimic-cxr-\d+\.\d+\.\d+-test-set-labeled\.csv",
    "records": r"cxr-record-list\.csv",
    "studies": r"cxr-study-list\.csv",
    "providers": r"cxr-provider-list\.csv",
}
"""Release 2.1.0 keeps "2.0.0" in the names of all but the radiologist's file."""

EVALUATION_FILES: dict[str, str] = {
    "ms-cxr-t": r"MS_CXR_T_temporal_image_classification.*\.csv",
    "ms-cxr": r"MS_CXR_Local_Alignment.*\.(?:csv|json)",
}

_TABLES = {n: re.compile(rf"{p}(?:\.gz)?", re.IGNORECASE) for n, p in TABLE_FILES.items()}
_EVALUATION = {n: re.compile(p, re.IGNORECASE) for n, p in EVALUATION_FILES.items()}
_GROUP = re.compile(r"p\d{2}")
_SUBJECT = re.compile(r"p\d{8}")
_IMAGE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}\.(?:jpe?g|png|dcm)", re.IGNORECASE)
_VERSION = re.compile(r"mimic-cxr(-jpg)?/(\d+\.\d+\.\d+)(?:/|$)", re.IGNORECASE)

MAX_DEPTH = 7
MAX_FOLDERS = 5_000
PROBED = 8
KINDS: tuple[str, ...] = ("jpg", "dicom", "reports")
SUFFIXES: dict[str, str] = {"jpg": ".jpg", "dicom": ".dcm"}
MARKER = "SYNTHETIC"


@dataclass
class Layout:
    """Places of everything found, each list in the order of the roots given.

    Attributes:
        tables: name (a key of `TABLE_FILES`) -> files that hold it; the first is read.
        trees: folders that hold `p10` ... `p19`.
        flats: folders that hold `<dicom_id>.jpg` (or .jpeg, .png, .dcm) side by side.
        zips: `mimic-cxr-reports.zip`.
        sums: `SHA256SUMS.txt` files.
        image_lists: `IMAGE_FILENAMES` files.
        evaluation: name of an evaluation set built on MIMIC-CXR -> its files.
        synthetic: all that was found lies in folders that a `SYNTHETIC` file marks.
        truncated: the search stopped at `MAX_FOLDERS`.
    """

    tables: dict[str, list[Path]] = field(default_factory=dict)
    trees: list[Path] = field(default_factory=list)
    flats: list[Path] = field(default_factory=list)
    zips: list[Path] = field(default_factory=list)
    sums: list[Path] = field(default_factory=list)
    image_lists: list[Path] = field(default_factory=list)
    evaluation: dict[str, list[Path]] = field(default_factory=dict)
    synthetic: bool = False
    truncated: bool = False

    def places(self) -> list[Path]:
        """All files and folders found."""
        files = [p for found in (self.tables, self.evaluation) for paths in found.values() for p in paths]
        return [*self.trees, *self.flats, *self.zips, *self.sums, *self.image_lists, *files]

    @cached_property
    def kinds(self) -> dict[str, list[Path]]:
        """jpg, dicom, reports -> trees, flat folders and zips in which a look at some patients found them."""
        found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
        for tree in self.trees:
            for kind in _probe_tree(tree):
                found[kind].append(tree)
        for flat in self.flats:
            for kind in {_kind(name) for name in islice(_image_names(flat), PROBED)}:
                found[kind].append(flat)
        found["reports"].extend(self.zips)
        return found

    @cached_property
    def versions(self) -> dict[str, str]:
        """mimic-cxr, mimic-cxr-jpg -> version, from the folder names of a `wget` tree, else from telling files."""
        found: dict[str, str] = {}
        for place in self.places():
            for jpg, version in _VERSION.findall(place.as_posix()):
                found.setdefault(f"mimic-cxr{jpg.lower()}", version)
        if "radiologist" in self.tables:
            found.setdefault("mimic-cxr-jpg", "2.1.0")
        elif "metadata" in self.tables or self.kinds["jpg"]:
            found.setdefault("mimic-cxr-jpg", "2.x")
        if "providers" in self.tables:
            found.setdefault("mimic-cxr", "2.1.0")
        elif {"records", "studies"} & set(self.tables) or self.kinds["dicom"] or self.kinds["reports"]:
            found.setdefault("mimic-cxr", "2.x")
        return found


@dataclass(frozen=True)
class MimicRoot:
    """The user's copy of MIMIC-CXR and MIMIC-CXR-JPG; never written to.

    Attributes:
        paths: the folders given.
        layout: what was found in them.
    """

    paths: tuple[Path, ...]
    layout: Layout

    @property
    def synthetic(self) -> bool:
        """Whether every folder given carries the mark of a synthetic world."""
        return self.layout.synthetic

    def has(self, what: str) -> bool:
        """Whether images (`jpg`, `dicom`), `reports` or a table (a key of `TABLE_FILES`) were found.

        Raises:
            UnknownNameError: none of these.
        """
        if what in KINDS:
            return bool(self.layout.kinds[what])
        if what in EVALUATION_FILES:
            return what in self.layout.evaluation
        if what not in TABLE_FILES:
            raise UnknownNameError.of("part of MIMIC-CXR", what, (*KINDS, *TABLE_FILES, *EVALUATION_FILES))
        return what in self.layout.tables

    def table_file(self, name: str) -> Path:
        """The file that holds a table.

        Raises:
            MissingFileError: not under the roots; names the file wanted.
        """
        if not self.has(name):
            wanted = TABLE_FILES[name].replace("\\", "").replace("d+.d+.d+", "2.x")
            raise MissingFileError(
                f"{wanted}(.gz) is not under {', '.join(map(str, self.paths))}",
                next="cxr-max mimic check lists what is there; add --mimic-root PATH",
            )
        return self.layout.tables[name][0]

    def metadata(self) -> pl.LazyFrame:
        """One row per image; see `cxr_max.mimic.tables.metadata`."""
        return tables.metadata(self.table_file("metadata"))

    def splits(self) -> pl.LazyFrame:
        """One row per image with its split; see `cxr_max.mimic.tables.splits`."""
        return tables.splits(self.table_file("split"))

    def labels(self, labeler: str = "chexpert", *, only: pl.LazyFrame | None = None) -> pl.LazyFrame:
        """One row per study (`only`: of these study_ids): `chexpert`, `negbio` or `radiologist`; see `tables.labels`.

        Raises:
            UnknownNameError: another labeler.
            MissingFileError: its file is not under the roots.
        """
        if labeler not in LABELERS:
            raise UnknownNameError.of("labeler", labeler, LABELERS)
        studies = self.studies() if labeler == "radiologist" else None
        return tables.labels(self.table_file(labeler), labeler, studies=studies, only=only)

    def records(self) -> pl.LazyFrame:
        """The list of DICOM files: dicom_id, subject_id, study_id, path."""
        return tables.records(self.table_file("records"))

    def providers(self) -> pl.LazyFrame:
        """Ordering, attending and resident provider of each study; see `cxr_max.mimic.tables.providers`."""
        return tables.providers(self.table_file("providers"))

    def studies(self) -> pl.LazyFrame | None:
        """Unique (study_id, subject_id) from the smallest table that has them; None when there is none."""
        for name in ("studies", "chexpert", "negbio", "split", "metadata", "records"):
            if self.has(name):
                return tables.study_ids(self.table_file(name))
        return None


def open_root(*paths: "Path | str | roots.Root") -> MimicRoot:
    """Find MIMIC-CXR under one or more folders, or under the configured roots when none is given.

    Args:
        paths: folders in order of precedence, each a root or a parent of one.

    Raises:
        MissingFileError: a folder does not exist, or nothing of MIMIC-CXR lies in any of them.
    """
    given = paths or tuple(r for r in roots.resolve() if r.name in (*roots.MIMIC_ROOTS, *EVALUATION_FILES))
    folders = tuple(dict.fromkeys(Path(p.path if isinstance(p, roots.Root) else p).expanduser() for p in given))
    layout = Layout()
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        if not folder.is_dir():
            raise MissingFileError(f"no folder at {folder}", next="cxr-max roots set mimic-cxr-jpg PATH")
        _search(folder.absolute(), layout, seen)
    layout.synthetic = bool(layout.places()) and all(_marked(p) for p in layout.places())
    if not (layout.tables or layout.trees or layout.flats or layout.zips):
        where = ", ".join(map(str, folders)) or "the configured roots (there are none)"
        raise MissingFileError(
            f"nothing of MIMIC-CXR was recognised under {where}",
            next="give the folder that holds files/p10 or the tables: --mimic-root PATH",
        )
    return MimicRoot(folders, layout)


def _marked(place: Path) -> bool:
    return any((folder / MARKER).is_file() for folder in (place, *islice(place.parents, MAX_DEPTH)))


def _search(top: Path, layout: Layout, seen: set[tuple[int, int]]) -> None:
    """Breadth first, so that what lies nearest to the root comes first; never into patients' folders."""
    if _GROUP.fullmatch(top.name) and any(_SUBJECT.fullmatch(e.name) for e in os.scandir(top)):
        top = top.parent
    queue = [(top, 0)]
    while queue:
        folder, depth = queue.pop(0)
        state = folder.stat()
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        if len(seen) > MAX_FOLDERS:
            layout.truncated = True
            return
        inner = _look(folder, layout)
        if depth < MAX_DEPTH:
            queue.extend((path, depth + 1) for path in sorted(inner))


def _look(folder: Path, layout: Layout) -> list[Path]:
    """Record what one folder holds; returns the folders to look into next."""
    inner, tree, flat = [], False, False
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _IMAGE.fullmatch(entry.name):
                    flat = True
                elif entry.is_dir():
                    if _GROUP.fullmatch(entry.name):
                        tree = True
                    elif not _SUBJECT.fullmatch(entry.name):
                        inner.append(folder / entry.name)
                else:
                    files.append(entry.name)
    except PermissionError:
        return []
    if tree:
        layout.trees.append(folder)
    if flat:
        layout.flats.append(folder)
    for name in sorted(files):
        _note_file(folder / name, layout)
    return inner


def _note_file(path: Path, layout: Layout) -> None:
    name = path.name
    # A table that is there both gunzipped and not: ".csv" sorts before ".csv.gz", and reads faster.
    for table, pattern in _TABLES.items():
        if pattern.fullmatch(name):
            layout.tables.setdefault(table, []).append(path)
    for table, pattern in _EVALUATION.items():
        if pattern.fullmatch(name):
            layout.evaluation.setdefault(table, []).append(path)
    if name.lower() == "mimic-cxr-reports.zip":
        layout.zips.append(path)
    elif name == "SHA256SUMS.txt":
        layout.sums.append(path)
    elif name in ("IMAGE_FILENAMES", "IMAGE_FILENAMES.txt"):
        layout.image_lists.append(path)


def _probe_tree(tree: Path) -> set[str]:
    """Kinds of files of the first patients of each group."""
    found: set[str] = set()
    for group in sorted(p for p in tree.iterdir() if _GROUP.fullmatch(p.name)):
        for subject in islice((e for e in os.scandir(group) if e.is_dir()), PROBED):
            for entry in os.scandir(subject):
                if entry.name.endswith(".txt"):
                    found.add("reports")
                elif entry.is_dir():
                    found.update(_kind(n) for n in _image_names(Path(entry.path)))
            if len(found) == len(KINDS):
                return found
    return found


def _image_names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (e.name for e in entries if _IMAGE.fullmatch(e.name))


def _kind(name: str) -> str:
    return "dicom" if name.lower().endswith(".dcm") else "jpg"
