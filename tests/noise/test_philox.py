from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_noise import philox_words, uniforms

from emds.noise.philox import make_key, philox, voxel_uniforms

words = st.integers(0, 2**32 - 1)


def compute(key, counter):
    return [int(word) for word in philox(tuple(map(np.uint64, key)), *map(np.uint64, counter))]


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0, 0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 4, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_the_published_test_vectors_come_out(key, counter, expected):
    assert " ".join(f"{word:08x}" for word in compute(key, counter)) == expected


@given(key=st.tuples(words, words), counter=st.tuples(words, words, words, words))
@settings(deadline=None, max_examples=30)
def test_the_bits_equal_those_of_python_integers(key, counter):
    assert compute(key, counter) == philox_words(key, counter)


@given(place=st.tuples(words, words, words, words))
@settings(deadline=None, max_examples=30)
def test_uniform_numbers_use_all_the_bits_of_their_words(place):
    own = voxel_uniforms(make_key(6, 1), *map(np.uint64, place))
    assert own == uniforms(6, 1, *place)


def test_uniform_numbers_never_reach_0_or_1_and_fill_the_interval():
    key = make_key(1, 2)
    zero = np.uint64(0)
    pairs = [voxel_uniforms(key, zero, zero, np.uint64(x), zero) for x in range(20_000)]
    values = np.array(pairs)
    assert values.min() > 0
    assert values.max() < 1
    counts, _ = np.histogram(values, bins=64, range=(0, 1))
    chi_square = np.sum((counts - 625.0) ** 2 / 625.0)
    assert chi_square < 63 + 5 * np.sqrt(2 * 63)


def test_keys_differ_by_every_part():
    keys = {tuple(map(int, make_key(seed, kind))) for seed in range(20) for kind in range(1, 5)}
    assert len(keys) == 80
