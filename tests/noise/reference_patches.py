"""What `measure_patches` does, voxel by voxel."""

from __future__ import annotations

from itertools import product

import numpy as np

from emds.noise.patches import LAGS, SECTION_FILTERS, STACK_FILTERS

DIFFERENCE = {-1: 1 / np.sqrt(6), 0: -2 / np.sqrt(6), 1: 1 / np.sqrt(6)}


def reference_filter(block, voxel, axes):
    """Return the filtered value at a voxel, and the means of values and squares around it."""
    value = mean = square = 0.0
    for steps in product((-1, 0, 1), repeat=len(axes)):
        place = list(voxel)
        weight = 1.0
        for axis, step in zip(axes, steps):
            place[axis] += step
            weight *= DIFFERENCE[step]
        grey = float(block[tuple(place)])
        value += weight * grey
        mean += weight**2 * grey
        square += weight**2 * grey**2
    return value, mean, square


def reference_patch(block, origin, size, stack):
    """Return variance, mean, square (F,), coarse, and lagged (3, LAGS) of one patch."""
    voxels = list(product(*(range(o, o + n) for o, n in zip(origin, size))))
    variance, mean, square = [], [], []
    for axes in STACK_FILTERS if stack else SECTION_FILTERS:
        seen = np.array([reference_filter(block, voxel, axes) for voxel in voxels])
        variance.append(np.mean(seen[:, 0] ** 2))
        mean.append(np.mean(seen[:, 1]))
        square.append(np.mean(seen[:, 2]))
    lagged = np.full((3, LAGS), np.nan)
    for axis in (0, 1, 2) if stack else (1, 2):
        others = [other for other in ((0, 1, 2) if stack else (1, 2)) if other != axis]
        for lag in range(min(LAGS, size[axis])):
            products = []
            for voxel in voxels:
                far = list(voxel)
                far[axis] += lag
                if far[axis] < origin[axis] + size[axis]:
                    one = reference_filter(block, voxel, others)[0]
                    products.append(one * reference_filter(block, far, others)[0])
            lagged[axis, lag] = np.mean(products)
    return variance, mean, square, reference_coarse(block, origin, size, stack), lagged


def reference_coarse(block, origin, size, stack):
    margin = (1, 1, 1) if stack else (0, 1, 1)
    origin = [o - m for o, m in zip(origin, margin)]
    size = [n + 2 * m for n, m in zip(size, margin)]
    cell = (2 if size[0] == 6 else 1, 2, 2)
    cells = {}
    for place in product(*(range(n // c) for n, c in zip(size, cell))):
        box = tuple(slice(o + p * c, o + (p + 1) * c) for o, p, c in zip(origin, place, cell))
        cells[place] = block[box].mean()
    squares = []
    for axis in range(3):
        along = []
        for place, value in cells.items():
            far = list(place)
            far[axis] += 1
            if tuple(far) in cells:
                along.append((cells[tuple(far)] - value) ** 2)
        if along:
            squares.append(np.mean(along))
    return np.mean(squares) * np.prod(cell) / 2
