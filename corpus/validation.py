"""Every problem of a corpus, as a table for people or as lines for programs."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ..tiktalkcoref_dataset import Problem

_STYLES = {"error": "bold red", "warning": "yellow"}


def problem_table(problems: Sequence[Problem]) -> Table:
    """One row a problem: severity, file and line, doc_key, field, what was found and expected."""
    table = Table(title=f"{summary(problems)}", title_justify="left", title_style="bold", header_style="dim")
    for column in ("", "where", "doc_key", "field"):
        table.add_column(column, no_wrap=True)
    table.add_column("what", overflow="fold")
    for problem in problems:
        cells = (problem.severity, where(problem), problem.doc_key or "", problem.field or "", problem.message)
        style = _STYLES.get(problem.severity, "")
        table.add_row(Text(cells[0], style=style), *(Text(cell) for cell in cells[1:]))
    return table


def problem_line(problem: Problem) -> str:
    """`file:line: severity: doc_key: field: message`, as compilers print it; parts that are not known are left out."""
    parts = [where(problem, whole_path=True), problem.severity, problem.doc_key, problem.field, problem.message]
    return ": ".join(part for part in parts if part)


def where(problem: Problem, whole_path: bool = False) -> str:
    """`file:line`, or the file alone for a problem of the whole file."""
    from pathlib import Path

    name = str(problem.file) if whole_path else Path(problem.file).name
    return f"{name}:{problem.line}" if problem.line else name


def summary(problems: Sequence[Problem]) -> str:
    """`2 errors, 1 warning`."""
    counts = Counter(problem.severity for problem in problems)
    return ", ".join(f"{counts[name]} {name}{'' if counts[name] == 1 else 's'}" for name in ("error", "warning"))
