"""What grey values mean to a network; without torch, so that a plan is made without it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Intensity(BaseModel):
    """The grey values that map to -1 and +1."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    low: float = 0.0
    high: float = 255.0
