"""Slow, obvious versions of the segmentation scores, one voxel or pair of voxels at a time."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations_with_replacement

import numpy as np
from skimage.measure import label


def reference_counts(gt, seg):
    return Counter(zip(gt.ravel().tolist(), seg.ravel().tolist(), strict=True))


def reference_voi(gt, seg):
    """H(seg | gt), H(gt | seg) in bits over voxels whose ground truth is not 0."""
    pairs = [(g, s) for g, s in zip(gt.ravel().tolist(), seg.ravel().tolist(), strict=True) if g]
    both = Counter(pairs)
    of_gt, of_seg = Counter(g for g, _ in pairs), Counter(s for _, s in pairs)
    split = sum(math.log2(of_gt[g] / both[g, s]) for g, s in pairs) / len(pairs)
    merge = sum(math.log2(of_seg[s] / both[g, s]) for g, s in pairs) / len(pairs)
    return split, merge


def reference_rand(gt, seg, convention):
    """Adapted Rand error, precision and recall from every pair of voxels, in both orders."""
    voxels = [(g, s) for g, s in zip(gt.ravel().tolist(), seg.ravel().tolist(), strict=True) if g]
    both = by_seg = by_gt = 0
    for (i, (g1, s1)), (j, (g2, s2)) in combinations_with_replacement(enumerate(voxels), 2):
        if i == j and convention == "skimage":
            continue
        same_gt = g1 == g2
        same_seg = s1 == s2 and (convention == "skimage" or s1 != 0 or i == j)
        orders = 1 if i == j else 2
        both += orders * (same_gt and same_seg)
        by_seg += orders * same_seg
        by_gt += orders * same_gt
    arand = 1 - 2 * both / (by_seg + by_gt) if by_seg + by_gt else 0.0
    return arand, both / by_seg if by_seg else 1.0, both / by_gt if by_gt else 1.0


def reference_components(section):
    return label(section.astype(np.int64), connectivity=1, background=0)


def voronoi_labels(shape, objects, seed, first_id=1):
    """Cells around random points: which point is nearest, numbered from `first_id`."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(seed)
    points = rng.random((objects, 3)) * shape
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    nearest = cKDTree(points).query(grid.reshape(-1, 3))[1]
    return (nearest.reshape(shape) + first_id).astype(np.uint64)


def same_partition(one, other):
    """Say whether two label arrays differ only in names, 0 being a name like any other."""
    pairs = set(zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
