"""What a data set is: two volumes, three ranges of sections, and where its noise comes from."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emds.geometry import Roi, Triple
from emds.numbers import Sections

Range = Sections


class Dataset(BaseModel):
    """Where sections are, and which are for training, for choosing and for testing.

    All ranges are half-open. Nothing is chosen on test sections, so the three must be apart.

    Examples
    --------
    >>> data = Dataset(name="mine", raw="raw.tif", labels="gt.tif", train=(0, 60),
    ...                validation=(62, 70), test=(72, 100))
    >>> data.tested_raw, data.test_box((100, 512, 512))
    ('raw.tif', Roi(offset=(72, 0, 0), shape=(28, 512, 512)))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="also a folder's name")
    raw: str = Field(description="location of the clean images, uint8")
    labels: str = Field(description="location of the instance labels, same grid")
    train: Range = Field(description="sections to train on")
    validation: Range = Field(description="sections to choose the best checkpoint by")
    test: Range = Field(description="sections to report on")
    test_raw: str | None = Field(None, description="volume of the test sections; default: raw")
    test_labels: str | None = Field(None, description="their labels; default: labels")
    rows: Range | None = Field(None, description="rows of every section to use; default: all")
    columns: Range | None = Field(None, description="columns to use; default: all")
    noise: tuple[Literal["gaussian-poisson", "film"], ...] = Field(
        ("gaussian-poisson", "film"), min_length=1, description="kinds to simulate, first first"
    )
    license: str = Field("unstated", description="of weights trained on it")
    attribution: str = Field("", description="credit that goes with such weights")

    @model_validator(mode="after")
    def _ranges_are_apart(self) -> Dataset:
        ranges = {"train": self.train, "validation": self.validation, "test": self.test}
        for name, (begin, end) in ranges.items():
            if not 0 <= begin < end:
                raise ValueError(f"{name} = {begin}:{end} must be a non-empty range of sections")
        if self.test_raw is not None:
            del ranges["test"]
        for (one, (a, b)), (other, (c, d)) in combinations(ranges.items(), 2):
            if max(a, c) < min(b, d):
                raise ValueError(f"{one} = {a}:{b} and {other} = {c}:{d} must not share sections")
        if (self.test_raw is None) != (self.test_labels is None):
            raise ValueError("test_raw and test_labels go together; only one is given")
        return self

    @property
    def tested_raw(self) -> str:
        """Volume of the test sections."""
        return self.test_raw or self.raw

    @property
    def tested_labels(self) -> str:
        """Labels of the test sections."""
        return self.test_labels or self.labels

    def test_box(self, shape: Triple) -> Roi:
        """Return the tested part of a volume of this shape."""
        ranges = (self.test, self.rows or (0, shape[1]), self.columns or (0, shape[2]))
        (z, y, x), (depth, height, width) = zip(*((a, b - a) for a, b in ranges), strict=True)
        return Roi((z, y, x), (depth, height, width))
