"""A bias on affinities: how much more, or less, to believe an offset than the network does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emds.segmentation.affinities import AffinitySpec


def add_to_logits(affinities: NDArray[np.float32], bias: Sequence[float]) -> NDArray[np.float32]:
    """Add a number to the logits of each channel: ``p`` becomes ``sigmoid(logit(p) + b)``.

    Before `quantize`, so that values near 0 and 1 lose nothing, and what is stored is what is
    segmented. Written with odds, for which 0 and 1 are no special cases.

    Parameters
    ----------
    affinities : (C, Z, Y, X) float32
        Probabilities.
    bias : sequence of float, length C or 0
        None at all changes nothing, nor does 0, to the last bit.

    Examples
    --------
    >>> values = np.array([0.0, 0.2, 0.5, 1.0], dtype=np.float32).reshape(1, 1, 1, 4)
    >>> add_to_logits(values, [math.log(4)]).round(3).tolist()
    [[[[0.0, 0.5, 0.800000011920929, 1.0]]]]
    """
    shifted = affinities.copy()
    for channel, number in enumerate(bias):
        if number:
            odds = affinities[channel] * np.float32(math.exp(number))
            shifted[channel] = odds / (odds + (1 - affinities[channel]))
    return shifted


def offset_groups(spec: AffinitySpec) -> dict[str, tuple[int, ...]]:
    """Return the channels of each kind of offset that there is: what shares a bias.

    Examples
    --------
    >>> offsets = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, -9, 0))
    >>> offset_groups(AffinitySpec(offsets, (True, True, True, False)))
    {'attraction': (1, 2), 'attraction across': (0,), 'mutex': (3,)}
    """
    kinds = {
        "attraction": (True, False),
        "attraction across": (True, True),
        "mutex": (False, False),
        "mutex across": (False, True),
    }
    found = {
        name: tuple(
            channel
            for channel, (offset, attracts) in enumerate(
                zip(spec.offsets, spec.attractive, strict=True)
            )
            if (attracts, offset[0] != 0) == kind
        )
        for name, kind in kinds.items()
    }
    return {name: channels for name, channels in found.items() if channels}
