"""Cross-validated gains: luck does not pay on the other folds, a real gain does."""

import numpy as np

from emds.metrics.selection import held_out_gains


def reference_gains(scores, folds):
    """Part by part."""
    settings, parts = len(scores), len(scores[0])
    runs = [run.tolist() for run in np.array_split(range(parts), folds)]
    gains = []
    for part in range(parts):
        (own,) = [run for run in runs if part in run]
        others = [p for p in range(parts) if p not in own]
        means = [sum(scores[s][p] for p in others) / len(others) for s in range(settings)]
        gains.append(scores[0][part] - scores[means.index(min(means))][part])
    return gains


def test_they_equal_the_obvious_ones():
    for parts, folds in ((16, 4), (13, 4), (4, 4), (9, 3)):
        scores = np.random.default_rng(parts).random((7, parts))
        np.testing.assert_allclose(held_out_gains(scores, folds), reference_gains(scores, folds))


def test_the_luckiest_of_many_gains_nothing():
    rng = np.random.default_rng(0)
    found, seeming = [], []
    for _ in range(300):
        scores = rng.normal(2, 0.2, (25, 16))
        found.append(held_out_gains(scores).mean())
        seeming.append(scores[0].mean() - scores.mean(axis=1).min())
    assert np.mean(seeming) > 0.08
    assert abs(np.mean(found)) < 0.02


def test_what_is_better_everywhere_gains_what_it_is_better_by():
    scores = np.random.default_rng(0).normal(2, 0.2, 16) + np.array([[0.0], [0.1], [-0.3]])
    np.testing.assert_allclose(held_out_gains(scores), 0.3)


def test_where_nothing_is_better_nothing_is_lost():
    scores = np.random.default_rng(0).normal(2, 0.2, 16) + np.array([[0.0], [0.1], [0.0]])
    assert (held_out_gains(scores) == 0).all()
