import logging

import numpy as np
import pytest
from numba.core import caching

from emds import kernels


def total(values):
    found = 0
    for value in values:
        found += value
    return found


@pytest.mark.parametrize("inline", ["never", "always"])
def test_where_nothing_can_be_kept_functions_are_compiled_all_the_same(monkeypatch, caplog, inline):
    """As in a container: neither the package nor any cache folder can be written to."""
    cache = getattr(caching, "CacheImpl", None) or caching._CacheImpl  # by the version of numba
    monkeypatch.setattr(cache, "_locator_classes", [])
    kernels._say_that_nothing_is_kept.cache_clear()
    with caplog.at_level(logging.WARNING, "emds"):
        compiled = [kernels.njit(inline)(total) for _ in range(2)]
    assert [function(np.array([1, 2, 39])) for function in compiled] == [42, 42]
    assert [record.message.count("NUMBA_CACHE_DIR") for record in caplog.records] == [1]


def test_elsewhere_they_are_kept(caplog):
    kept = kernels.njit()(total)
    assert kept(np.array([1, 2, 39])) == 42
    assert kept.stats.cache_path
    assert not caplog.records


def test_other_errors_of_numba_stay_errors(monkeypatch):
    def refuse(**_):
        raise RuntimeError("something else")

    monkeypatch.setattr(kernels.numba, "njit", refuse)
    with pytest.raises(RuntimeError, match="something else"):
        kernels.njit()(total)
