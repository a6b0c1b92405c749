"""The words of ``--launcher`` are cut as a shell would, and what cannot be cut is refused."""

from __future__ import annotations

import pytest

from emds.errors import UsageError
from emds.execution import parse_launcher


@pytest.mark.parametrize("text", ['"', "'", 'srun -n1 "', "srun --comment 'two", "srun \\"])
def test_words_that_cannot_be_cut_are_a_wrong_option(text):
    with pytest.raises(UsageError, match=r"--launcher .* cannot be cut into words") as refused:
        parse_launcher(text)
    assert refused.value.exit_code == 2


def test_words_are_those_of_a_shell():
    assert parse_launcher("") == ()
    assert parse_launcher("srun -n1 --comment 'two words'") == (
        *("srun", "-n1", "--comment", "two words"),
    )
