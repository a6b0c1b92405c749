"""Affinities, and the mutex watershed that turns them into labels.

Import from the modules: `emds.segmentation.affinities` needs NumPy alone, while
`emds.segmentation.mutex_watershed` and `emds.segmentation.small_segments` load numba.
"""
