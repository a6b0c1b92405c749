"""The judge of a training: what it looks at, and that perfect affinities score nothing wrong."""

import numpy as np
import pytest
import torch

from emds.config import load_train_config
from emds.geometry import Roi
from emds.io.volume import CachedVolume, MemoryVolume
from emds.networks.joint import Prediction
from emds.noise import add_noise, make_noise_model
from emds.segmentation.affinities import affinities_from_labels
from emds.segmentation.offset_sets import OFFSET_SETS
from emds.stages.validation import Validator

SHAPE = (20, 32, 40)
HELD = (6, 14)


def cells():
    """Cells that move by a pixel from section to section."""
    z, y, x = np.indices(SHAPE)
    return (1 + (y + z) // 10 + 10 * ((x + z) // 12)).astype(np.uint64)


def make_validator(*, offsets="isotropic", in_slices=7, sections=4):
    config = load_train_config(
        "cpu",
        options={
            "in_slices": in_slices,
            "validation": {"sections": sections, "mutex_strides": (1, 1, 1)},
        },
    )
    raw = (cells() * 9).astype(np.uint8)
    box = Roi((HELD[0], 0, 0), (HELD[1] - HELD[0], *SHAPE[1:]))
    volumes = [CachedVolume(MemoryVolume(values), box) for values in (raw, cells())]
    return raw, Validator(*volumes, HELD, config, OFFSET_SETS[offsets], torch.device("cpu"))


class Oracle:
    """Answers with the true affinities of the sections it is shown one after the other."""

    def __init__(self, sections, offsets):
        same, valid = affinities_from_labels(cells(), offsets)
        self.answers = iter(np.where(same | ~valid, 20.0, -20.0)[:, z] for z in sections)
        self.seen = []

    def eval(self):
        return self

    def __call__(self, noisy):
        self.seen.append(noisy)
        logits = torch.from_numpy(next(self.answers).astype(np.float32))[None]
        return Prediction(None, logits, None)


@pytest.mark.parametrize(
    ("in_slices", "sections", "chosen", "stacks"),
    [
        # 6 7 |8 9 10 11| 12 13: two sections on either side of the four in the middle
        (5, 4, [8, 9, 10, 11], [[6, 7, 8, 9, 10], [9, 10, 11, 12, 13]]),
        (7, 4, [8, 9, 10, 11], [[7, 6, 7, 8, 9, 10, 11], [8, 9, 10, 11, 12, 13, 12]]),
        (3, 99, list(range(6, 14)), [[7, 6, 7], [12, 13, 12]]),
        (1, 3, [6, 10, 13], [[6], [13]]),
    ],
)
def test_sections_are_adjacent_and_mirrored_at_the_ends_of_the_range(
    in_slices, sections, chosen, stacks
):
    raw, validator = make_validator(offsets="planar", in_slices=in_slices, sections=sections)
    oracle = Oracle(chosen, OFFSET_SETS["planar"].offsets)
    validator(oracle)
    noisy = add_noise(raw, make_noise_model("gaussian-poisson"), seed=1)
    np.testing.assert_array_equal(validator.clean, raw[chosen])
    assert len(oracle.seen) == len(chosen)
    for seen, stack in ((oracle.seen[0], stacks[0]), (oracle.seen[-1], stacks[-1])):
        expected = noisy[stack] / 127.5 - 1  # a grey level is 0.008
        np.testing.assert_allclose(seen[0], expected, rtol=0, atol=1e-6)


def test_perfect_affinities_score_nothing_wrong_in_the_plane_and_in_the_volume():
    _, validator = make_validator()
    metrics = validator(Oracle(range(8, 12), OFFSET_SETS["isotropic"].offsets))
    assert set(metrics) == {
        name + kind for name in ("voi", "voi_split", "voi_merge", "arand") for kind in ("", "_3d")
    }
    assert metrics == pytest.approx(dict.fromkeys(metrics, 0.0), abs=1e-12)


def test_labels_within_the_section_are_not_judged_as_a_volume():
    _, validator = make_validator(offsets="planar")
    metrics = validator(Oracle(range(8, 12), OFFSET_SETS["planar"].offsets))
    assert set(metrics) == {"voi", "voi_split", "voi_merge", "arand"}


def test_a_network_that_knows_nothing_yet_is_no_reason_for_a_warning(caplog):
    """Early in a training most voxels are boundary; nobody has affinities to invert."""

    class Untrained:
        def eval(self):
            return self

        def __call__(self, stack):
            channels = OFFSET_SETS["isotropic"].channels
            logits = torch.full((1, channels, *stack.shape[2:]), -3.0)
            return Prediction(coarse=None, fused=None, logits=logits)

    with caplog.at_level("WARNING", "emds"):
        make_validator()[1](Untrained())
    assert caplog.records == []
