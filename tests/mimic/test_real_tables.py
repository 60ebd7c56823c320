"""The table reader on real files of registry packages: headers of Open-I images, CheXpert's labels; read in place."""

import importlib.util
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from cxr_max.errors import DataError
from cxr_max.mimic import tables
from cxr_max.mimic.images import PHOTOMETRIC
from cxr_max.schema import FINDINGS


@pytest.fixture(scope="module")
def data() -> Path:
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("torchxrayvision is not installed")
    return Path(spec.submodule_search_locations[0]) / "data"


def test_headers_of_open_i_images(data: Path) -> None:
    columns = {
        "View Position": pl.String(),
        "Photometric Interpretation": pl.String(),
        "imageid": pl.String(),
        "Bits Stored": pl.Float64(),
    }
    rows = tables.scan(data / "nlmcxr_dicom_metadata.csv.gz", columns).collect()
    assert rows.columns == list(columns)
    assert rows["imageid"].n_unique() == rows.height == 7_469
    assert dict(rows["Photometric Interpretation"].value_counts().iter_rows()) == {
        "MONOCHROME2": 3_885,
        "MONOCHROME1": 3_584,
    }
    assert set(rows["Photometric Interpretation"]) == set(PHOTOMETRIC)
    views = Counter(rows["View Position"].to_list())
    assert (views["PA"], views["LL"], views["AP"], views["LATERAL"], views["RL"]) == (3_593, 717, 423, 119, 29)
    assert set(rows["Bits Stored"].drop_nulls()) == {10, 12, 14, 15}


def test_a_column_the_real_file_lacks_is_named(data: Path) -> None:
    with pytest.raises(DataError, match=r"nlmcxr_dicom_metadata\.csv\.gz lacks the column ViewPosition"):
        tables.scan(data / "nlmcxr_dicom_metadata.csv.gz", {"ViewPosition": pl.String()})


def test_real_labels_keep_empty_apart_from_negative(data: Path) -> None:
    rows = tables.scan(data / "chexpert_train.csv.gz", {name: pl.Float32() for name in FINDINGS}).collect()
    assert rows.height == 223_414
    counts = {name: dict(rows[name].value_counts().iter_rows()) for name in FINDINGS}
    assert (counts["Consolidation"][-1.0], counts["Atelectasis"][-1.0], counts["Pneumonia"][-1.0]) == (
        27_742, 33_739, 18_770,
    )  # fmt: skip
    assert all(set(c) <= {1.0, 0.0, -1.0, None} for c in counts.values())
    assert counts["No Finding"].get(0.0) is None
    assert all(c[None] > 0 for c in counts.values())
