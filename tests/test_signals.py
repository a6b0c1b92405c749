"""Signals are noted, the second Ctrl-C ends at once, and what was to be ignored is ignored."""

from __future__ import annotations

import os
import signal

import pytest

from emds.signals import SIGNALS, TerminatedError, ended_by_signals, stop_signal


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_asks_to_stop_and_has_its_exit_code(number):
    before = signal.getsignal(number)
    with stop_signal() as stop:
        assert not stop.is_set(), "test invalid"
        os.kill(os.getpid(), number)
        assert stop.is_set()
    error = stop.error("with 3 to do. Continue with --resume.")
    by_keyboard = number == signal.SIGINT
    assert error.exit_code == (130 if by_keyboard else 75)
    cause = "Ctrl-C" if by_keyboard else "a signal"
    assert str(error) == f"stopped by {cause} with 3 to do. Continue with --resume."
    assert signal.getsignal(number) == before


def test_the_second_ctrl_c_ends_at_once_and_no_other_signal_does(caplog):
    with stop_signal():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_a_process_was_started_to_ignore_it_ignores(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with ended_by_signals(), stop_signal() as stop:
            os.kill(os.getpid(), number)
            assert not stop.is_set()
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_inner_block_passes_a_signal_on_as_it_ends(number):
    with stop_signal() as outer:
        with stop_signal() as inner:
            os.kill(os.getpid(), number)
            assert inner.is_set()
            assert not outer.is_set()
        assert outer.is_set()
        assert outer.error("").exit_code == inner.error("").exit_code


@pytest.mark.parametrize("number", [n for n in SIGNALS if n != signal.SIGINT])
def test_elsewhere_a_signal_ends_a_command_like_ctrl_c_and_cleans_up(number):
    cleaned = []

    def work():
        with ended_by_signals():
            try:
                os.kill(os.getpid(), number)
            finally:
                cleaned.append(number)

    with pytest.raises(TerminatedError):
        work()
    assert cleaned == [number]
    assert signal.getsignal(number) == signal.SIG_DFL
