"""The metric repository: a Space whose module bears the repository's name, as `evaluate.load("NS/<name>")` asks for."""

import ast
from pathlib import Path

from tiktalkcoref.files.errors import UserError

from .kind import Kind, Sources

ROOM = Path(__file__).parent.parent / "evaluate_metric"
MODULE = "evaluate_metric"  # its name here
FILES = ("README.md", "app.py", "requirements.txt")


def check(sources: Sources) -> None:
    """The metric comes with the package: nothing to check but that it is whole."""
    missing = [name for name in (f"{MODULE}.py", *FILES) if not (ROOM / name).is_file()]
    if missing:
        raise UserError(f"{ROOM} lacks {', '.join(missing)}: install the package again")


def build(sources: Sources, ids: dict[str, str], folder: Path) -> list[str]:
    """Copy the metric's module with its neighbours; it, and the examples that load it, take the repository's name.

    Raises:
        ValueError: a neighbour has the repository's name.
    """
    repo_id = ids["metric"]
    name = repo_id.split("/")[1]
    modules = {MODULE}  # and those beside it that it needs, directly or not
    pending = [MODULE]
    while pending:
        code = (ROOM / f"{pending.pop()}.py").read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                names = {node.module} if node.module else {alias.name for alias in node.names}
                pending += names - modules
                modules |= names
    if name in modules - {MODULE} or name == "app":
        raise UserError(f"the metric cannot be called {name}: one of its own modules has that name")
    for file in (*(f"{module}.py" for module in modules), *FILES):
        text = (ROOM / file).read_text(encoding="utf-8").replace(f'load("{MODULE}")', f'load("{repo_id}")')
        (folder / (f"{name}.py" if file == f"{MODULE}.py" else file)).write_text(text, encoding="utf-8")
    return []


KIND = Kind(
    type="space",
    default_name="tiktalkcoref_metric",
    check=check,
    build=build,
    unlisted=(
        r"README\.md|app\.py|requirements\.txt|{name}\.py",
        r"(coreference|inputs|linking|multimodal|resampling|scoring)\.py",
    ),
    marker="{name}.py",
    sdk="gradio",
)
