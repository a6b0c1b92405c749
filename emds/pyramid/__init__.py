"""Lower resolutions of an image: which there are, where their voxels lie, what they hold."""

from emds.pyramid.levels import Level, plan_levels
from emds.pyramid.reduce import mean_of_windows, mode_of_windows

__all__ = ["Level", "mean_of_windows", "mode_of_windows", "plan_levels"]
