"""What the tests of `tiktalkcoref push` share."""

import json
from pathlib import Path

from hub_server import LocalHub, run_client

METRIC = ("space", "writer/tiktalkcoref_metric")
DATASET = ("dataset", "writer/tiktalkcoref")
MODEL = ("model", "writer/tiktalkcoref-base")


def push(*arguments: str | Path, namespace: str = "writer") -> list[str]:
    return ["push", *map(str, arguments), "--namespace", namespace]


def titles(hub, repo, revision="main"):
    return [commit.title for commit in hub.repo(*repo).history(revision)]


def holds(hub, repo, folder: Path, revision="main") -> bool:
    """Whether the remote files are those of a folder (beside .gitattributes)."""
    local = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    remote = hub.repo(*repo).find(revision).files.keys() - {".gitattributes"}
    return local == remote and all(hub.read(*repo, name, revision) == (folder / name).read_bytes() for name in local)


# Several commands in one process: the token is read at each call. Prints exit codes and what went to stderr.
DRIVER = """
import contextlib, io, json, os, sys
from tiktalkcoref import cli
answers = []
for token, arguments in json.loads({cases!r}):
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    sys.argv = ["tiktalkcoref", "push", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    answers.append([code, err.getvalue()])
print(json.dumps(answers))
"""


def answers(hub: LocalHub, cases: list[tuple[str | None, list[str]]], home: Path) -> list[tuple[int, str]]:
    """(exit code, stderr) of `tiktalkcoref push` with these (token, arguments)."""
    script = DRIVER.format(cases=json.dumps(cases))
    return json.loads(run_client(hub, script, home, token=None).stdout.splitlines()[-1])
