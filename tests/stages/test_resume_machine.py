"""Whatever happens to a run in whatever order: an output that has its name has the right bytes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from small_runs import (
    LABELLING,
    Example,
    InterruptedHereError,
    contents,
    interrupt_after,
    write_affinities,
)

from emds.errors import EmdsError, IncompleteError, OutputExistsError, UsageError
from emds.execution import Execution, Shard
from emds.stages.execute import merge
from emds.stages.job import Request

SHAPE = (33, 8, 8)
OTHERS = [
    ("min_size", 11, "labels.min_size"),
    ("mutex_strides", (1, 1, 2), "labels.mutex_strides"),
    ("label_block_shape", (32, 8, 8), "grid.label_block_shape"),
]
numbers = st.integers(0, 10**6)


class Runs(RuleBasedStateMachine):
    """A run on one output, disturbed."""

    example: Example
    reference: dict[str, bytes]

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.out = self.folder / "out.zarr"
        self.partial = self.folder / "out.zarr.partial"

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def begun(self) -> bool:
        return self.partial.exists()

    @property
    def complete(self) -> bool:
        return self.out.exists()

    def attempt(self, act) -> None:
        """Do what may find damage; it is told, with exit code 5, and the file it names deleted."""
        try:
            act()
        except InterruptedHereError:
            pass
        except IncompleteError as error:
            named = [
                word.strip(",:()")
                for word in str(error).split()
                if word.startswith(str(self.partial)) and Path(word.strip(",:()")).is_file()
            ]
            for path in named:
                Path(path).unlink(missing_ok=True)

    @precondition(lambda self: not self.complete)
    @rule(steps=st.integers(0, 22))
    def run_and_interrupt(self, steps: int) -> None:
        self.attempt(
            lambda: self.example.run(
                self.folder, resume=self.begun, progress=interrupt_after(steps)
            )
        )

    @precondition(lambda self: not self.complete)
    @rule(shard=st.sampled_from([(0, 2), (1, 2), (0, 3), (2, 3)]))
    def run_a_shard(self, shard: tuple[int, int]) -> None:
        self.attempt(
            lambda: self.example.run(self.folder, execution=Execution(shard=Shard(*shard)))
        )
        assert not self.complete

    @precondition(lambda self: self.begun)
    @rule()
    def resume(self) -> None:
        self.attempt(lambda: self.example.run(self.folder, resume=True))

    @precondition(lambda self: self.begun)
    @rule()
    def merge(self) -> None:
        self.attempt(lambda: merge(self.out))

    @precondition(lambda self: self.begun)
    @rule(number=numbers, cut=st.integers(1, 30))
    def corrupt_the_end_of_a_log(self, number: int, cut: int) -> None:
        self.damage(".emds/done/*/*.jsonl", number, lambda content: content[:-cut])

    @precondition(lambda self: self.begun)
    @rule(number=numbers)
    def delete_a_chunk(self, number: int) -> None:
        self.damage("*/**/c/*/0/0", number, lambda content: None)

    @precondition(lambda self: self.begun)
    @rule(number=numbers)
    def delete_a_table(self, number: int) -> None:
        self.damage(".emds/tables/**/*.np?", number, lambda content: None)

    @precondition(lambda self: self.begun)
    @rule(number=numbers, place=numbers)
    def flip_a_bit(self, number: int, place: int) -> None:
        """Of what is read again; one in a label chunk is told to whoever reads the output."""

        def flipped(content: bytes) -> bytes:
            changed = bytearray(content)
            changed[place % len(changed)] ^= 1 << place % 8
            return bytes(changed)

        pattern = ("fragments/0/c/*/0/0", ".emds/tables/*/*.npz", ".emds/tables/*.npy")[number % 3]
        self.damage(pattern, number, flipped)

    def damage(self, pattern: str, number: int, change) -> None:
        files = [path for path in sorted(self.partial.glob(pattern)) if path.is_file()]
        if files:
            path = files[number % len(files)]
            content = change(path.read_bytes())
            path.unlink() if content is None else path.write_bytes(content)

    @precondition(lambda self: self.begun)
    @rule(other=st.sampled_from(OTHERS), shard=st.booleans())
    def ask_for_something_else(self, other: tuple[str, object, str], shard: bool) -> None:
        name, value, field = other
        how = {"execution": Execution(shard=Shard(0, 2))} if shard else {"resume": True}
        before = contents(self.partial)
        with pytest.raises(OutputExistsError, match=f"{field} was "):
            self.example.with_options(**{name: value}).run(self.folder, **how)
        assert contents(self.partial) == before

    @precondition(lambda self: self.begun)
    @rule()
    def forget_to_resume(self) -> None:
        with pytest.raises(OutputExistsError, match="--resume"):
            self.example.run(self.folder)

    @precondition(lambda self: not self.begun)
    @rule()
    def resume_nothing(self) -> None:
        for act in (lambda: self.example.run(self.folder, resume=True), lambda: merge(self.out)):
            with pytest.raises(UsageError, match="nothing to"):
                act()

    @precondition(lambda self: self.complete)
    @rule()
    def run_again(self) -> None:
        with pytest.raises(EmdsError) as refused:
            self.example.run(self.folder)
        assert refused.value.exit_code == 4
        shutil.rmtree(self.out)

    @invariant()
    def complete_means_right(self) -> None:
        if self.complete:
            assert contents(self.out) == self.reference
            assert os.listdir(self.folder) == ["out.zarr"]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    affinities = write_affinities(folder / "affinities.zarr", shape=SHAPE)
    Runs.example = Example(Request("segment", str(affinities), None, None, LABELLING)).with_options(
        label_block_shape=(16, 8, 8)
    )
    Runs.reference = contents(Runs.example.run(folder))
    return Runs


def check(machine, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.usefixtures("no_fsync")
def test_complete_means_equal_to_the_reference(machine):
    check(machine, examples=10, steps=12)


@pytest.mark.slow
@pytest.mark.usefixtures("no_fsync")
def test_complete_means_equal_to_the_reference_in_many_histories(machine):
    check(machine, examples=40, steps=25)
