"""What is wrong in the corpus files, where, and the error that says so."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from datasets.exceptions import DatasetGenerationError

from tiktalkcoref.files.errors import UserError

logger = logging.getLogger(__name__)


class Fault(NamedTuple):
    """What is wrong with one line, before it is said where the line stands.

    `severity`: "error" (does not load) or "warning" (loads).
    """

    severity: str
    field: str | None
    message: str

    def at(self, file: Path, line: int | None = None, doc_key: str | None = None) -> "Problem":
        """The same, with its place."""
        return Problem(self.severity, str(file), line, doc_key, self.field, self.message)


def error(field: str | None, message: str) -> Fault:
    """A fault that keeps the line from loading."""
    return Fault("error", field, message)


def warning(field: str | None, message: str) -> Fault:
    """A fault with which the line loads."""
    return Fault("warning", field, message)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a corpus file; `severity` as in `Fault`, lines counted from 1."""

    severity: str
    file: str
    line: int | None
    doc_key: str | None
    field: str | None
    message: str

    def __str__(self) -> str:
        place = self.file
        for name, value in (("line", self.line), ("doc_key", self.doc_key), ("field", self.field)):
            place += "" if value is None else f", {name} {value}"
        return f"{place}: {self.message}"


class CorpusError(UserError, DatasetGenerationError):
    """The corpus cannot be read; the message says what was found where, and what to do.

    Also a `DatasetGenerationError`, since `datasets` hides every other error behind one of its own.
    `problem` is the `Problem` behind it, or None where it is not about the content of a file.
    """

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class Tally:
    """For those who load: the first error is raised (with `strict` the first warning too), warnings are counted."""

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.warnings = 0
        self.first: Problem | None = None

    def take(self, problems: Iterable[Problem]) -> None:
        """Raises: CorpusError."""
        for problem in problems:
            if problem.severity == "error":
                raise CorpusError(str(problem), problem)
            if self.strict:
                raise CorpusError(f"{problem} (a warning, which strict=True makes an error)", problem)
            self.warnings += 1
            self.first = self.first or problem

    def log(self) -> None:
        """One line, where there were warnings."""
        if self.warnings:
            plural = "" if self.warnings == 1 else "s"
            logger.warning("%d warning%s, the first: %s", self.warnings, plural, self.first)
