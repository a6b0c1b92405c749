"""Whether the best of many settings is better than the first, or only the luckiest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FOLDS = 4


def held_out_gains(scores: NDArray[np.float64], folds: int = FOLDS) -> NDArray[np.float64]:
    """Return the cross-validated gain of each part: the choice is made on the other folds.

    The parts are cut into `folds` runs of neighbours. For each run, the setting that is best on
    the parts outside it is judged on the run, against the first setting. A setting that is ahead
    by luck is not so on parts that did not choose it, so the mean of these gains is 0 or less
    where there is nothing to gain.

    Parameters
    ----------
    scores : (settings, parts) float
        Lower is better; the first row is what was there before. Neighbouring parts are alike.
    folds : int
        At most as many as there are parts.

    References
    ----------
    Stone, Cross-validatory choice and assessment of statistical predictions, 1974.

    Examples
    --------
    The second setting is better everywhere; the third is best on average, by one part alone:

    >>> scores = np.array([[1.0, 1.0, 1.0, 1.0], [0.9, 0.9, 0.9, 0.9], [0.0, 1.1, 1.1, 1.1]])
    >>> held_out_gains(scores).round(3).tolist()
    [0.1, -0.1, -0.1, -0.1]
    """
    gains = np.empty(scores.shape[1])
    for run in np.array_split(np.arange(scores.shape[1]), folds):
        chosen = np.delete(scores, run, axis=1).mean(axis=1).argmin()
        gains[run] = scores[0, run] - scores[chosen, run]
    return gains
