"""Every figure in a table of the documentation stands in a file of results."""

import dataclasses
import re

import pytest
from doc_figures import PAGES, RESULTS, intervals, load, tables

ALL = [table for page in PAGES for table in tables(page)]
MEASURED = [table for table in ALL if table.source and "rows" in table.source]


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
def test_every_figure_is_found_in_what_the_table_names(table):
    assert table.faults() == []


def test_no_page_escapes():
    lines = sum(
        bool(re.match(r"\|[ :|-]*-[ :|-]*\|$", line))
        for page in PAGES
        for line in page.read_text(encoding="utf-8").splitlines()
    )
    assert len(ALL) == lines > 20
    assert len(MEASURED) > 15


@pytest.mark.parametrize("table", MEASURED, ids=lambda table: table.name)
def test_another_figure_is_a_fault(table):
    """Add 1 to the first digit that is measured in each row."""
    columns = table.source.get("columns")
    for index, row in enumerate(table.rows):
        for place, cell in enumerate(row):
            label = place == 0 if columns is None else columns[place] is None
            changed = re.sub(r"\d+\.\d+", lambda found: f"{float(found[0]) + 77.7:.2f}", cell)
            if label or "`" in cell or changed == cell:
                continue
            rows = [*table.rows[:index], [*row[:place], changed, *row[place + 1 :]]]
            rows += table.rows[index + 1 :]
            assert dataclasses.replace(table, rows=rows).faults()


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_no_interval_is_a_point(path):
    """A bootstrap of blocks as long as the volume gives one mean: an interval of no width."""
    points = [name for name, (low, high) in intervals(load(path.name)) if low == high != 0]
    assert points == []


def test_every_file_of_results_is_spoken_of():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [path.name for path in RESULTS.iterdir() if path.name not in text] == []
