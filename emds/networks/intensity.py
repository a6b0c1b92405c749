"""What grey values mean to a network; without torch, so that a plan is made without it."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

_LARGEST = 1e30  # far within float32, in which grey values are scaled

Values = TypeVar("Values", bound=Any)

Grey = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)]


class Intensity(BaseModel):
    """The grey values that map to -1 and +1; the second is the larger, in float32 too."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    low: Grey = 0.0
    high: Grey = 255.0

    @model_validator(mode="after")
    def _rises(self) -> Intensity:
        if not np.float32(self.low) < np.float32(self.high):
            raise ValueError(f"low = {self.low} must be less than high = {self.high}")
        return self

    def to_network(self, grey: Values) -> Values:
        """Return grey values, a float32 array or tensor, as networks see them."""
        seen: Values = (grey - self.low) * (2 / (self.high - self.low)) - 1
        return seen

    def from_network(self, seen: Values) -> Values:
        """Return the grey values of what a network gave."""
        grey: Values = (seen + 1) * ((self.high - self.low) / 2) + self.low
        return grey
