"""A training that goes on replaces its own checkpoints, and nothing else that it reads."""

import itertools
import os
import signal

from emds.networks.checkpoint import load_checkpoint

TRAIN = (
    *("train", "raw.tif", "labels.tif", "--preset", "cpu", "--device", "cpu", "--steps", "4"),
    *("--set", "width=tiny", "--set", "crop=32", "--set", "batch_size=1"),
    *("--set", "validation.every=1", "--set", "validation.sections=1", "--out", "run"),
)


def test_a_better_checkpoint_takes_the_place_of_the_one_before_the_stop(
    place, emds, emds_ok, monkeypatch
):
    """Each validation is better than all before; the first ends with SIGTERM."""
    scores = itertools.count()

    def better(*_):
        score = next(scores)
        if score == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return float(score)

    monkeypatch.setattr("emds.training.loop._score", better)
    assert emds(*TRAIN).code == 75
    assert load_checkpoint(place / "run/best.pt").metrics["step"] == 1
    emds_ok(*TRAIN, "--resume")
    assert load_checkpoint(place / "run/best.pt").metrics["step"] == 4
