"""Targets and losses against the paper's formulas, written out pixel by pixel."""

from math import exp, log

import numpy as np
import pytest
import torch

from emds.networks.losses import affinity_loss, affinity_targets, balance_weights
from emds.segmentation.affinities import PAPER_OFFSETS, affinities_from_labels


def reference_affinity_loss(logits, same):
    """Per sample and channel: f, then the weights, then the mean over everything."""
    total = 0.0
    for sample_logits, sample_same in zip(logits, same, strict=True):
        for z, s in zip(sample_logits.flatten(1), sample_same.flatten(1), strict=True):
            f = float(s.mean())
            constant = f in (0.0, 1.0)
            f = min(max(f, 0.05), 0.99)
            for value, target in zip(z.tolist(), s.tolist(), strict=True):
                if constant:
                    weight = 1.0
                elif f > 0.5:
                    weight = 1.0 if target else f / (1 - f)
                else:
                    weight = (1 - f) / f if target else 1.0
                p = 1 / (1 + exp(-value))
                total -= weight * (log(p) if target else log(1 - p))
    return total / logits.numel()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.98, 1.0])
def test_loss_equals_the_formula(share):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 10, 10, generator=generator)
    same = (torch.rand(2, 3, 10, 10, generator=generator) < share).float()
    expected = reference_affinity_loss(logits, same)
    assert affinity_loss(logits, same).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("share", "weight"), [(0.98, 49.0), (0.95, 19.0), (0.9, 9.0), (0.8, 4.0)])
def test_weight_of_the_rare_class(share, weight):
    same = torch.ones(1, 1, 10, 10)
    same.view(-1)[: round(100 * (1 - share))] = 0
    assert balance_weights(same).max().item() == pytest.approx(weight, rel=1e-4)


OFFSETS = [*PAPER_OFFSETS, (-1, 0, 0), (2, 0, 0), (-2, 3, -4), (1, -2, 0), (0, 5, 5)]


def test_targets_equal_affinities_of_the_whole_labels():
    labels = np.random.default_rng(0).integers(1, 4, (9, 20, 20))
    whole, valid = affinities_from_labels(labels.astype(np.uint32), OFFSETS)
    centres = range(2, 7)
    stacks = np.stack([labels[z - 2 : z + 3] for z in centres])
    same, inside = affinity_targets(torch.from_numpy(stacks), OFFSETS)
    for n, z in enumerate(centres):
        np.testing.assert_array_equal(inside.numpy(), valid[:, z])
        np.testing.assert_array_equal(same[n].numpy().astype(bool) & valid[:, z], whole[:, z])


def test_border_pairs_count_as_same_and_can_be_masked():
    labels = torch.tensor([[[[1, 2], [1, 2]]]])
    same, inside = affinity_targets(labels, [(0, 0, -1)])
    assert same.tolist() == [[[[1, 0], [1, 0]]]]
    logits = torch.full((1, 1, 2, 2), 3.0)
    half = affinity_loss(logits, same, inside)
    assert half.item() == pytest.approx(2 * log(1 + exp(3.0)) / 4, rel=1e-5)


def test_background_is_an_ordinary_label():
    same, _ = affinity_targets(torch.zeros(1, 1, 4, 4, dtype=torch.int64), [(0, -1, 0)])
    assert same.min() == 1
