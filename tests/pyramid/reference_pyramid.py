"""Windows one by one, as one would do it by hand."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np


def windows(values, factor):
    """Yield the place of each window and what lies in it."""
    grid = [range(-(-n // f)) for n, f in zip(values.shape, factor, strict=True)]
    for place in product(*grid):
        yield place, values[tuple(slice(p * f, (p + 1) * f) for p, f in zip(place, factor))]


def reference_mean(image, factor):
    found = {}
    for place, window in windows(image, factor):
        # Python's round takes halves to the even neighbour.
        found[place] = round(Fraction(sum(map(int, window.flat)), window.size))
    return as_array(found, image.dtype)


def reference_mode(labels, factor):
    found = {}
    for place, window in windows(labels, factor):
        counts = Counter(map(int, window.flat))
        most = max(counts.values())
        candidates = sorted(label for label, count in counts.items() if count == most)
        found[place] = next((label for label in candidates if label != 0), 0)
    return as_array(found, labels.dtype)


def as_array(found, dtype):
    shape = [n + 1 for n in max(found)]
    return np.array([found[place] for place in sorted(found)], dtype=dtype).reshape(shape)
