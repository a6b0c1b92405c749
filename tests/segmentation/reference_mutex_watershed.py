"""The mutex watershed as a sentence of Python: Kruskal's algorithm that listens to mutexes."""

from __future__ import annotations

import numpy as np


def reference_mutex_watershed(affinities, spec, *, strides=(1, 1, 1), mask=None, origin=(0, 0, 0)):
    shape = affinities.shape[1:]
    top = np.iinfo(affinities.dtype).max
    voxels = [v for v in np.ndindex(shape) if mask is None or mask[v]]
    known = set(voxels)

    edges = []
    for channel, (offset, attractive) in enumerate(zip(spec.offsets, spec.attractive, strict=True)):
        for voxel in voxels:
            partner = tuple(v + o for v, o in zip(voxel, offset, strict=True))
            on_grid = all((v + o) % s == 0 for v, o, s in zip(voxel, origin, strides, strict=True))
            if partner in known and (attractive or on_grid):
                affinity = int(affinities[(channel, *voxel)])
                weight = affinity if attractive else top - affinity
                edges.append((-weight, channel, voxel, partner))

    cluster_of = {voxel: {voxel} for voxel in voxels}
    apart_from = {voxel: set() for voxel in voxels}
    for _, channel, voxel, partner in sorted(edges):
        one, other = cluster_of[voxel], cluster_of[partner]
        if one is other:
            continue
        if not spec.attractive[channel]:
            apart_from[voxel].add(partner)
            apart_from[partner].add(voxel)
        elif all(apart_from[member].isdisjoint(other) for member in one):
            one |= other
            for member in other:
                cluster_of[member] = one

    labels = np.zeros(shape, dtype=np.uint64)
    ids = {}
    for voxel in voxels:
        labels[voxel] = ids.setdefault(id(cluster_of[voxel]), len(ids) + 1)
    return labels
