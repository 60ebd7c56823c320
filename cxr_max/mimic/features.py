"""A Hugging Face feature type for radiographs: a path in the table, pixels when a row is read.

Only paths are stored, so that a dataset of 377,110 images stays small and no pixel leaves its root.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from datasets.features import features as registry
from PIL import Image

from cxr_max.errors import DataError, RestrictedDataError
from cxr_max.mimic.images import read_image, resize

NAME = "Radiograph"


@dataclass
class Radiograph:
    """Feature type of a column of radiographs on disk: JPG, PNG or DICOM.

    Attributes:
        decode: give pixels (a PIL image, 8-bit grey); off gives the path.
        equalize: for DICOMs, the last step of the official recipe (see `cxr_max.mimic.images`).
        max_pixels: scale larger images down to a model's pixel budget; None leaves them as they are.
        multiple: both sides of a scaled image are multiples of this.
    """

    decode: bool = True
    equalize: bool = True
    max_pixels: int | None = None
    multiple: int = 1
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "PIL.Image.Image"
    pa_type: ClassVar[Any] = pa.string()
    _type: str = field(default=NAME, init=False, repr=False)

    def __call__(self) -> Any:
        """The Arrow type."""
        return self.pa_type

    def encode_example(self, value: Any) -> str | None:
        """The path to store.

        Raises:
            RestrictedDataError: pixels or bytes came, which may not be stored in a table.
        """
        if value is None or isinstance(value, str | Path):
            return str(value) if value is not None else None
        raise RestrictedDataError(
            f"a column of radiographs stores paths, {type(value).__name__} came",
            next="keep the path column, or choose another feature type for images made from it",
        )

    def decode_example(self, value: Any, token_per_repo_id: Mapping[str, Any] | None = None) -> Image.Image:
        """The image at a path; anything but a path is returned as it is.

        Raises:
            MissingFileError, DataError: see `cxr_max.mimic.read_image`.
        """
        if not self.decode:
            raise DataError("decoding is off for this column", next='dataset.cast_column("image", Radiograph())')
        if not isinstance(value, str):
            image: Image.Image = value
            return image
        image = read_image(value, equalize=self.equalize)
        return resize(image, max_pixels=self.max_pixels, multiple=self.multiple) if self.max_pixels else image

    def cast_storage(self, storage: Any) -> Any:
        """Arrow strings as the storage of this type."""
        return storage.cast(self.pa_type)

    def embed_storage(self, storage: Any, *_: Any, **__: Any) -> Any:
        """Never embeds.

        Raises:
            RestrictedDataError: always; image bytes may not leave their root.
        """
        raise RestrictedDataError(
            "images of MIMIC-CXR are not embedded into files: their bytes may not leave their root",
            next="pass embed_external_files=False, or drop the column",
        )

    def flatten(self) -> "Radiograph":
        """This type has no parts."""
        return self


def register() -> None:
    """Make the type known to `datasets`, so that tables that name it can be opened; done on import."""
    if registry._FEATURE_TYPES.get(NAME) is not Radiograph:
        registry._FEATURE_TYPES[NAME] = Radiograph


register()
