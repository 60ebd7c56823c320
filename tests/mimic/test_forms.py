"""A join as a Hugging Face dataset, an iterable one and a PyTorch one: same rows, images decoded when read."""

import pickle
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from cxr_max import mimic
from cxr_max.errors import DataError, MissingFileError, RestrictedDataError, UnknownNameError
from cxr_max.mimic.features import Radiograph
from cxr_max.schema import FINDINGS
from tests.mimic import world
from tests.mimic.test_join import TEACHERS, make_release

torch = pytest.importorskip("torch")


@pytest.fixture
def joined(tmp_path: Path) -> mimic.Joined:
    return mimic.join(make_release(), world.write_world(tmp_path / "mimic"))


def full_release() -> world.Release:
    """Trajectories with all the columns that the schema gives them."""
    release = make_release()
    import polars as pl

    from cxr_max.schema import table

    short = release.tables["trajectories"]
    more = {
        c.name: pl.lit(
            {"str": "x", "u8": 0, "u16": 1, "i32": 1}.get(str(c.dtype)), table("trajectories").polars()[c.name]
        )
        for c in table("trajectories").columns
        if c.name not in short.columns
    }
    release.tables["trajectories"] = (
        short.with_columns(**more).select(table("trajectories").names).cast(dict(table("trajectories").polars()))
    )
    return release


def test_the_dataset_has_every_row_and_decodes_images_when_read(joined: mimic.Joined) -> None:
    data = joined.dataset()
    assert isinstance(data, datasets.Dataset)
    assert len(data) == len(world.IMAGES) * len(TEACHERS)
    row = data[0]
    assert isinstance(row["image"], Image.Image)
    assert row["image"].mode == "L"
    assert np.array_equal(row["image"], Image.open(row["images"][0]))
    assert "small (50000201)" in row["findings"]
    assert (row["Cardiomegaly"], row["Pneumothorax"], row["Edema"]) == (1, 0, None)
    frame = joined.frame_with_text.collect()
    for name in ("instance_id", "teacher", "impression", *FINDINGS):
        assert data[name][:] == frame[name].to_list()


def test_pixels_are_in_no_file_and_no_image_is_opened_for_other_columns(
    joined: mimic.Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = joined.dataset()
    monkeypatch.setattr("cxr_max.mimic.features.read_image", None)
    assert data["teacher"][0] == TEACHERS[0]
    assert data.select_columns(["instance_id"])[0]
    stored = Path(data.cache_files[0]["filename"]).read_bytes()
    assert b"\xff\xd8\xff" not in stored
    assert Path(data.cache_files[0]["filename"]).is_relative_to(joined.folder or "")


def test_a_missing_image_is_none_and_one_that_went_away_is_named(tmp_path: Path) -> None:
    root = world.write_world(tmp_path / "mimic")
    shutil.rmtree(root / "files" / "p11")
    data = mimic.join(make_release(), root).dataset()
    at = data["instance_id"][:].index(world.IMAGES[4][2])
    assert data[at]["image"] is None
    assert data[at]["image_status"] == "missing"
    shutil.rmtree(root / "files" / "p12")
    with pytest.raises(MissingFileError, match="refresh"):
        data[data["instance_id"][:].index(world.IMAGES[5][2])]


def test_splits_and_tables(joined: mimic.Joined) -> None:
    for name in ("validate", "validation", "val", "dev"):
        data = joined.dataset(split=name)
        assert data.split == "validation"
        assert set(data["split"]) == {"validate"}, "the column keeps MIMIC's spelling"
    assert len(joined.dataset("instances", text=False)) == len(world.IMAGES)
    assert "findings" not in joined.dataset("instances", text=False).column_names
    with pytest.raises(UnknownNameError, match="trajectories"):
        joined.dataset("steps")
    with pytest.raises(UnknownNameError, match="train"):
        joined.dataset(split="all")


def test_all_columns_of_a_real_release_are_typed(tmp_path: Path) -> None:
    data = mimic.join(full_release(), world.write_world(tmp_path)).dataset()
    assert data.features["n_words"].dtype == "uint16"
    assert data[0]["decoding"] is None


def test_the_second_dataset_is_the_same_file(joined: mimic.Joined) -> None:
    first = joined.dataset().cache_files
    again = mimic.join(joined.release, joined.root)
    assert again.dataset().cache_files == first


def test_iterable_and_torch_forms_have_the_same_rows(joined: mimic.Joined) -> None:
    ids = joined.dataset()["instance_id"][:]
    stream = joined.iterable(shards=2)
    assert isinstance(stream, datasets.IterableDataset)
    assert stream.num_shards == 2
    streamed = list(stream)
    assert [r["instance_id"] for r in streamed] == ids
    assert isinstance(streamed[0]["image"], Image.Image)
    rows = joined.torch(transform=lambda row: (row["instance_id"], np.asarray(row["image"]).shape))
    assert isinstance(rows, torch.utils.data.Dataset)
    assert [rows[i][0] for i in range(len(rows))] == ids
    loaded = list(torch.utils.data.DataLoader(rows, batch_size=None, num_workers=2, multiprocessing_context="fork"))
    assert [i for i, _ in loaded] == ids
    assert list(loaded[0][1]) == [24, 20]


def test_the_feature_type_survives_a_pickle_and_a_map_and_is_found_by_name(joined: mimic.Joined) -> None:
    data = joined.dataset("instances")
    assert isinstance(pickle.loads(pickle.dumps(data))[0]["image"], Image.Image)
    mapped = data.map(lambda r: {"n": 1}, load_from_cache_file=False)
    assert isinstance(mapped[0]["image"], Image.Image)
    assert Path(mapped.cache_files[0]["filename"]).is_relative_to(joined.folder or ""), "nothing outside our cache"
    named = datasets.Features.from_dict(data.features.to_dict())
    assert isinstance(named["image"], Radiograph)


def test_a_pixel_budget_and_paths_alone(joined: mimic.Joined) -> None:
    data = joined.dataset("instances")
    small = data.cast_column("image", Radiograph(max_pixels=100, multiple=2))
    assert small[0]["image"].size[0] * small[0]["image"].size[1] <= 100
    assert data.cast_column("image", Radiograph(decode=False))[0]["image"].endswith(".jpg")
    with pytest.raises(DataError, match="decoding is off"):
        Radiograph(decode=False).decode_example("x")


def test_pixels_are_not_stored(joined: mimic.Joined) -> None:
    with pytest.raises(RestrictedDataError, match="ndarray"):
        Radiograph().encode_example(np.zeros((2, 2)))
    with pytest.raises(RestrictedDataError, match="bytes may not leave"):
        Radiograph().embed_storage(None)
    image = joined.dataset("instances")[0]["image"]
    assert Radiograph().decode_example(image) is image
