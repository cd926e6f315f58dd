"""Every problem of a corpus, as a table for people or as lines for programs."""

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .problems import Problem

_STYLES = {"error": "bold red", "warning": "yellow"}


def problem_tables(problems: Sequence[Problem]) -> RenderableType:
    """A table for each file, one row a problem: line, severity, doc_key, field, what was found and expected."""
    tables: dict[str, Table] = {}
    for problem in problems:
        if problem.file not in tables:
            table = tables[problem.file] = Table(
                title=Text(problem.file), title_justify="left", title_style="bold", header_style="dim", box=box.SIMPLE
            )
            table.add_column("line", justify="right", no_wrap=True)
            table.add_column("", no_wrap=True)
            table.add_column("doc_key", overflow="fold", min_width=19)
            table.add_column("field", overflow="fold", min_width=10)
            table.add_column("what", overflow="fold", ratio=1)
        line, severity = Text(str(problem.line or "")), Text(problem.severity, style=_STYLES[problem.severity])
        texts = map(Text, (problem.doc_key or "", problem.field or "", problem.message))
        tables[problem.file].add_row(line, severity, *texts)
    return Group(*tables.values())


def problem_line(problem: Problem) -> str:
    """`file:line: severity: doc_key: field: message`, as compilers print it; parts that are not known are left out."""
    where = f"{problem.file}:{problem.line}" if problem.line else problem.file
    parts = (where, problem.severity, problem.doc_key, problem.field, problem.message)
    return ": ".join(part for part in parts if part)


def summary(problems: Sequence[Problem]) -> str:
    """`2 errors, 1 warning`."""
    counts = Counter(problem.severity for problem in problems)
    return ", ".join(f"{counts[name]} {name}{'' if counts[name] == 1 else 's'}" for name in ("error", "warning"))
