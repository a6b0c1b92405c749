"""The runs of `small_runs`, made once, and a disk that is not waited for."""

from __future__ import annotations

import os

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


@pytest.fixture
def no_fsync(monkeypatch):
    """Most tests are of what is written in which order, and none pulls the plug."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
