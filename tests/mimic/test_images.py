"""Radiographs: the official recipe against an independent writing of it, OpenCV's equalisation, real DICOMs."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from cxr_max import mimic
from cxr_max.errors import DataError, UsageError


def recipe(pixels: NDArray[np.generic], photometric: str) -> NDArray[np.uint8]:
    """The published conversion written anew: float64 and OpenCV."""
    values = pixels.astype(np.float64)
    values -= values.min()
    grey = (values / values.max() * 255).astype(np.uint8)
    if photometric == "MONOCHROME1":
        grey = np.asarray(cv2.bitwise_not(grey))
    return np.asarray(cv2.equalizeHist(grey))


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_equalize_hist_is_opencvs(image: NDArray[np.uint8]) -> None:
    assert np.array_equal(mimic.equalize_hist(image), cv2.equalizeHist(image))


@pytest.mark.parametrize("seed", range(5))
def test_equalize_hist_is_opencvs_on_large_skewed_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.clip(rng.normal(rng.uniform(20, 200), rng.uniform(1, 60), (701, 903)), 0, 255).astype(np.uint8)
    assert np.array_equal(mimic.equalize_hist(image), cv2.equalizeHist(image))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_stays_as_it_is(value: int) -> None:
    image = np.full((5, 7), value, np.uint8)
    assert np.array_equal(mimic.equalize_hist(image), image)
    assert np.array_equal(cv2.equalizeHist(image), image)


def test_equalize_hist_of_nothing_is_nothing_and_of_wide_pixels_an_error() -> None:
    assert mimic.equalize_hist(np.empty((0, 3), np.uint8)).shape == (0, 3)
    with pytest.raises(UsageError, match="uint16"):
        mimic.equalize_hist(np.zeros((2, 2), np.uint16))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=30),
            elements=st.integers(0, 255) if dtype == np.uint8 else st.integers(0, 32767),
        )
    ),
    st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
def test_the_recipe_matches_an_independent_writing(pixels: NDArray[np.generic], photometric: str) -> None:
    ours = mimic.to_uint8(pixels, photometric)
    assert ours.dtype == np.uint8
    assert ours.shape == pixels.shape
    if pixels.min() == pixels.max():
        assert (ours == (255 if photometric == "MONOCHROME1" else 0)).all()
    else:
        assert np.array_equal(ours, recipe(pixels, photometric))


def test_signed_pixels_over_the_whole_range_do_not_wrap_around() -> None:
    pixels = np.array([[-32768, 0, 32767]], np.int16)
    assert mimic.to_uint8(pixels, "MONOCHROME2", equalize=False).tolist() == [[0, 127, 255]]


@pytest.mark.parametrize("shape", [(4,), (2, 3, 3), (0, 5)])
def test_anything_but_one_frame_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="shape"):
        mimic.to_uint8(np.zeros(shape, np.uint16), "MONOCHROME2")


def test_colour_and_not_finite_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="MONOCHROME1, MONOCHROME2"):
        mimic.to_uint8(np.zeros((2, 2), np.uint8), "RGB")
    with pytest.raises(DataError, match="finite"):
        mimic.to_uint8(np.array([[0.0, np.nan]]), "MONOCHROME2")


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 40), st.integers(1, 200_000))
def test_resize_keeps_the_budget_the_shape_and_the_patches(width: int, height: int, multiple: int, budget: int) -> None:
    image = Image.new("L", (width, height))
    if budget < multiple * multiple:
        with pytest.raises(UsageError, match="below one patch"):
            mimic.resize(image, max_pixels=budget, multiple=multiple)
        return
    small = mimic.resize(image, max_pixels=budget, multiple=multiple)
    assert small.width % multiple == small.height % multiple == 0
    assert small.width * small.height <= budget
    assert small.width <= max(width, multiple)
    assert small.height <= max(height, multiple)


def test_resize_leaves_small_images_alone_and_keeps_how_they_were_decoded() -> None:
    image = Image.new("L", (300, 200))
    image.info["cxr_max_decode"] = "jpg"
    assert mimic.resize(image, max_pixels=100_000) is image
    small = mimic.resize(image, max_pixels=15_000)
    assert small.size == (150, 100)
    assert small.info["cxr_max_decode"] == "jpg"
