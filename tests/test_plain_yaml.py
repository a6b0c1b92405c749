"""YAML that means two things, or that no person wrote, is refused with its place, and at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emds.config import load_train_config
from emds.config.plain import parse_yaml, read_mapping
from emds.datasets import find_dataset
from emds.errors import ConfigError

TWICE = [
    ("steps: 5\nlog_every: 1\nsteps: 6\n", "line 3, column 1: the key 'steps' comes twice"),
    ("optimizer:\n  lr: 1\n  lr: 2\n", "line 3, column 3: the key 'lr' comes twice"),
    ("optimizer: {lr: 1, eps: 1, 'lr': 2}", "line 1, column 28: the key 'lr' comes twice"),
    ("noise:\n  models:\n  - kind: film\n    kind: gaussian\n", "line 4, column 5: the key 'kind'"),
    ('{"steps": 5, "steps": 6}', "line 1, column 14: the key 'steps' comes twice"),
    ("augment: {}\n? augment\n: {zoom: 1}", "line 2, column 3: the key 'augment' comes twice"),
]


@pytest.mark.parametrize(("text", "words"), TWICE)
def test_a_key_that_comes_twice_is_refused_with_its_place(tmp_path, text, words):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_train_config(file=tmp_path / "mine.yaml")
    assert words in str(caught.value)
    with pytest.raises(ConfigError, match="comes twice"):
        find_dataset(str(tmp_path / "mine.yaml"), tmp_path)


def test_a_key_that_comes_twice_in_set_is_refused():
    with pytest.raises(ConfigError, match=r"--set optimizer: .* the key 'lr' comes twice"):
        load_train_config(overrides=["optimizer={lr: 1, lr: 2}"])


def bomb(doublings: int) -> str:
    """2 ** doublings values, written in a line for each doubling."""
    lines = ["x0: &x0 [1]"]
    lines += [f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]" for n in range(1, doublings)]
    return "\n".join(lines)


ABSURD = {
    "aliases": (bomb(19), "over 10000 values"),
    "aliases of mappings": ("a: &a {k: 1}\n" * 1 + bomb(18), "over 10000 values"),
    "a value in itself": ("steps: &a [*a]", "it holds itself"),
    "a mapping in itself": ("steps: &a {b: *a}", "it holds itself"),
    "brackets": ("[" * 200_000, "nested more than 20 deep"),
    "braces": ("{a: " * 10_000, "nested more than 20 deep"),
    "dashes": ("- " * 10_000 + "1", "nested more than 20 deep"),
    "a long list": ("steps: [" + "1," * 20_000 + "]", "over 10000 values"),
    "a long file": ("#" * 2_000_000, "over 1 MiB"),
    "digits": ("steps: " + "9" * 10_000, "limit"),
    "a date": ("steps: 2001-99-99", "is a date to YAML"),
    "a list as a key": ("? [a]\n: 1", "unhashable"),
    "a number as a key": ("1: 2", "words as keys"),
    "an object": ("steps: !!python/object/apply:os.getcwd []", "is no plain data"),
    "two documents": ("--- {}\n--- {}", "another document"),
    "a control character": ("steps: \0", "special characters"),
    "a list": ("[1, 2]", "must hold a mapping"),
    "nothing": ("", "must hold a mapping"),
}


@pytest.mark.parametrize(("text", "words"), ABSURD.values(), ids=ABSURD)
def test_what_no_person_wrote_is_refused(tmp_path, text, words):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_mapping(tmp_path / "mine.yaml", "config file")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read config file"):
        read_mapping(tmp_path / "mine.yaml", "config file")


def test_what_a_person_writes_is_read(tmp_path):
    text = (
        "both: &both {lr: 0.5}\none: *both\ntwo: {<<: *both, eps: 2}\nthree: {<<: *both, lr: 3}\n"
    )
    (tmp_path / "mine.yaml").write_text(text)
    assert read_mapping(tmp_path / "mine.yaml", "config file") == {
        "both": {"lr": 0.5},
        "one": {"lr": 0.5},
        "two": {"lr": 0.5, "eps": 2},
        "three": {"lr": 3},
    }


# By PyYAML: True, 90, 8, 685230.15, a date. By YAML 1.2: words, and 10.
MISLEADING = ["yes", "Off", "on", "NO", "1:30", "190:20:30.15", "010", "-07", "2020-01-01"]


@pytest.mark.parametrize("text", MISLEADING)
def test_what_yaml_takes_for_something_else_is_refused(text):
    with pytest.raises(ConfigError, match=f"line 1, column 4: {text!r} is a .* to YAML"):
        parse_yaml(f"a: {text}", "it")
    assert parse_yaml(f"a: '{text}'", "it") == {"a": text}


@pytest.mark.parametrize("text", ["true", "False", "10", "0", "0.5", "0x1f", "-3", "1e3", "1:2,3"])
def test_what_reads_as_it_looks_is_read(text):
    assert parse_yaml(f"a: {text}", "it")["a"] in (True, False, 10, 0, 0.5, 31, -3, "1e3", "1:2,3")


@pytest.mark.parametrize("value", ["!!set {b}", "!!binary aGk=", "!!omap [a: 1]", "!mine x"])
def test_values_of_other_kinds_are_refused(value):
    with pytest.raises(ConfigError, match="is no plain data"):
        parse_yaml(f"a: {value}", "it")


def test_two_documents_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="expected a single document in the stream, but found"):
        parse_yaml("a: 1\n---\nb: 2", "it")


@pytest.mark.parametrize("field", ["steps", "seed", "optimizer.lr", "crop"])
def test_a_truth_value_is_no_number(field):
    with pytest.raises(ConfigError, match=f"{field} = True: .*not a truth value"):
        load_train_config("cpu", overrides=[f"{field}=true"])


@given(st.text(alphabet="a1.:-[]{}&*!?<>|'\"#%@`, \n\t\\=~", max_size=40))
def test_any_text_is_a_value_or_a_config_error(text):
    try:
        parse_yaml(text, "it")
    except ConfigError as error:
        complaint = str(error)
    else:
        complaint = "it: fine"
    assert complaint.startswith("it: ")
