"""The runs of `small_runs`, made once."""

from __future__ import annotations

import pytest
from small_runs import contents, make_examples


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    return make_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="session")
def references(examples, tmp_path_factory):
    """The files of each example's output when nothing disturbs it."""
    return {
        name: contents(example.run(tmp_path_factory.mktemp(name)))
        for name, example in examples.items()
    }
