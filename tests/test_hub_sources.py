"""What may not be pushed: damaged or incomplete models and datasets, foreign code; and what is left out and said."""

import json
import shutil
from pathlib import Path

import pytest
from hub_pushing import MODEL, answers, push
from hub_server import LocalHub, run_client

from tiktalkcoref.hub import model_code
from tiktalkcoref.hub.contents import MANIFEST
from tiktalkcoref.hub.retrying import HubError

CODE = "modeling_tiktalkcoref.py"


@pytest.fixture
def hub():
    with LocalHub() as server:
        yield server


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# name -> (what to do to a copy of the folder, what the refusal says)
MODELS = {
    "weights cut short": (lambda f: cut(f / "model.safetensors", 3000), "model.safetensors"),
    "weights cut by one byte": (
        lambda f: cut(f / "model.safetensors", (f / "model.safetensors").stat().st_size - 1),
        "the header describes",
    ),
    "weights empty": (lambda f: cut(f / "model.safetensors", 0), "lacks model.safetensors"),
    "a pointer": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "is a Git LFS pointer",
    ),
    "a header too large": (
        lambda f: (f / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}"),
        "cut short or no safetensors",
    ),
    "a header of something else": (
        lambda f: (f / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]" + b"0" * 9),
        "the header is damaged",
    ),
    "a shard missing": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"x": "model-00001-of-00002"}}'),
        "names model-00001-of-00002, which is not there",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "lacks the tokenizer"),
    "an empty tokenizer": (lambda f: cut(f / "tokenizer.json", 0), "tokenizer.json is no JSON"),
    "a broken tokenizer": (lambda f: cut(f / "tokenizer.json", 50), "tokenizer.json is no JSON"),
    "no processor": (
        lambda f: [path.unlink() for path in f.glob("*processor_config.json")],
        "lacks the processor",
    ),
    "a broken config": (lambda f: cut(f / "config.json", 50), "no JSON"),
    "a list as config": (lambda f: (f / "config.json").write_text("[]"), "holds no object"),
    "no code named": (lambda f: edit(f / "config.json", auto_map={}, custom_pipelines={}), "config.json names no code"),
    "code missing": (lambda f: (f / CODE).unlink(), f"lacks {CODE}"),
    "code of another repository": (
        lambda f: edit(f / "config.json", auto_map={"AutoModel": "evil/repo--modeling_tiktalkcoref.TikTalkCorefModel"}),
        "names code of another repository (evil/repo--modeling",
    ),
    "code changed": (lambda f: (f / CODE).write_text("raise SystemExit"), f"{CODE} differ from the code of this"),
    "code that is not ours": (
        lambda f: (
            edit(f / "processor_config.json", auto_map={"AutoProcessor": "evil.Processor"}),
            (f / "evil.py").write_text("x = 1"),
        ),
        "evil.py differ from the code of this package",
    ),
}
DATASETS = {
    "a split missing": (
        lambda f: (f / "celeb/test-00000-of-00001.parquet").unlink(),
        "its card names celeb/test with",
    ),
    "a config missing": (lambda f: shutil.rmtree(f / "visual"), "its card names visual/celeb_train with"),
    "other rows": (
        lambda f: shutil.copy(f / "celeb/train-00000-of-00001.parquet", f / "celeb/test-00000-of-00001.parquet"),
        "its card names celeb/test with",
    ),
    "an old shard": (
        lambda f: shutil.copy(f / "celeb/test-00000-of-00001.parquet", f / "celeb/test-00001-of-00002.parquet"),
        "its card names celeb/test with",
    ),
    "a table of nobody": (
        lambda f: shutil.copy(f / "celeb/test-00000-of-00001.parquet", f / "celeb/more.parquet"),
        "holds celeb/more.parquet, which is of no config in its card",
    ),
    "cut short": (
        lambda f: cut(f / "celeb/test-00000-of-00001.parquet", 4000),
        "celeb/test-00000-of-00001.parquet is no Parquet file that can be read",
    ),
    "empty": (lambda f: cut(f / "celeb/test-00000-of-00001.parquet", 0), "is no Parquet file that can be read"),
    "damaged inside": (
        lambda f: (f / "celeb/test-00000-of-00001.parquet").write_bytes(
            b"PAR1" + bytes(3000) + (f / "celeb/test-00000-of-00001.parquet").read_bytes()[3004:]
        ),
        "is no Parquet file that can be read",
    ),
    "a card without configs": (
        lambda f: (f / "README.md").write_text("---\nlicense: mit\n---\n"),
        "which is of no config in its card",
    ),
}


def test_what_is_damaged_is_not_pushed(hub, dataset, tiny_model_folder, tmp_path):
    cases = []
    for kind, source, changes in (("model", tiny_model_folder, MODELS), ("dataset", dataset, DATASETS)):
        for name, (change, message) in changes.items():
            folder = tmp_path / kind / name
            shutil.copytree(source, folder)
            change(folder)
            cases.append(([kind, "--namespace", "writer", f"--{kind}", str(folder)], message))
    replies = answers(hub, [("hf_writer", arguments) for arguments, _ in cases], tmp_path)
    for (arguments, message), (code, error) in zip(cases, replies, strict=True):
        assert code == 1, (arguments, error)
        assert message in error, (arguments, error)
        assert error.strip().count("\n") == 0, error
        assert "Traceback" not in error
    assert not hub.repos
    assert not hub.requested("POST|PUT|DELETE")


SPY = """
import os, pathlib
from huggingface_hub import get_token
tokens = [name for name in os.environ if os.environ[name].startswith("hf_")]
with pathlib.Path({path!r}).open("a") as file:
    print(tokens, get_token(), file=file)
"""


def test_foreign_code_runs_and_goes_up_when_it_is_trusted_and_sees_no_token(hub, tiny_model_folder, tmp_path):
    folder, seen = tmp_path / "model", tmp_path / "seen"
    shutil.copytree(tiny_model_folder, folder)
    code = (folder / CODE).read_text(encoding="utf-8")
    (folder / CODE).write_text(code + SPY.format(path=str(seen)), encoding="utf-8")
    for name in ("notes.md", "trainer_state.json", "own.py", ".hidden"):
        (folder / name).write_text("{}")
    (folder / "onnx").mkdir()
    (folder / "onnx/config.json").write_text("{}")
    command = push("model", "--model", folder)

    refused = run_client(hub, [*command, "--dry-run"], tmp_path, check=False)
    assert refused.returncode == 1
    assert f"{CODE} differ from the code of this package" in refused.stderr
    assert "--trust-remote-code" in refused.stderr
    assert not seen.exists()
    assert not hub.repos

    result = run_client(hub, [*command, "--trust-remote-code"], tmp_path)
    assert hub.read(*MODEL, CODE) == (folder / CODE).read_bytes()
    assert set(seen.read_text().splitlines()) == {"[] None"}
    files = hub.repo(*MODEL).find("main").files
    assert not {"notes.md", "trainer_state.json", ".hidden", "onnx/config.json"} & files.keys()
    assert {"own.py", "config.json", "tokenizer.json", "README.md", "handler.py", "requirements.txt"} < files.keys()
    assert "no part of a model: notes.md, onnx/, trainer_state.json" in result.stdout


def test_a_model_without_answers_is_not_pushed(tmp_path):
    (tmp_path / "handler.py").write_text("import absent_library")
    with pytest.raises(ValueError, match=r"No module named 'absent_library'; pip install 'tiktalkcoref\[model\]'"):
        model_code.ask_handler(tmp_path, ["a"])
    (tmp_path / "handler.py").write_text("class EndpointHandler:\n def __init__(self, path): 1 / 0")
    with pytest.raises(ValueError, match="does not answer the examples of its card: ZeroDivisionError"):
        model_code.ask_handler(tmp_path, ["a"])
    answer = "class EndpointHandler:\n def __init__(self, path): print('noise')\n def __call__(self, data): return data"
    (tmp_path / "handler.py").write_text(answer)
    assert model_code.ask_handler(tmp_path, ["他", "b"]) == [{"inputs": "他"}, {"inputs": "b"}]
    assert [path.name for path in tmp_path.iterdir()] == ["handler.py"]


# A dry run without token, without network


@pytest.mark.parametrize("case", ["no token", "no network", "offline", "busy"])
def test_a_dry_run_needs_neither_token_nor_network(hub, dataset, tmp_path, monkeypatch, case):
    home, arguments = tmp_path / "home", push("dataset", "--dataset", dataset, "--dry-run")
    said = "no Hub token: rights were not checked"
    if case == "no token":
        run_client(hub, push("dataset", "--dataset", dataset), home)
    if case == "no network":
        hub.url, said = "http://127.0.0.1:9", "nothing was compared, every file is shown"
    if case == "busy":
        hub.fail("GET", "503", times=100)
        said = "no success in 3 attempts, the last one: the Hub answered 503"
    script = "import os, sys\n" + ("os.environ['HF_HUB_OFFLINE'] = '1'\n" if case == "offline" else "")
    script += f"from tiktalkcoref import cli\nsys.argv = ['tiktalkcoref', *{arguments!r}]\ncli.main()"
    if case == "offline":
        said = "offline mode is on"
    writes = len(hub.requested("POST|PUT"))
    result = run_client(hub, script, home, token=None if case == "no token" else "hf_writer", timeout=60)
    assert said in result.stdout
    assert len(hub.requested("POST|PUT")) == writes
    if case == "no token":
        assert "nothing to change" in result.stdout
    else:
        assert "(not compared)" in result.stdout
        shown = {line.split()[1] for line in result.stdout.splitlines() if line.startswith("  + ")}
        local = {path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file()}
        assert shown == local - {MANIFEST}


def test_a_push_needs_both(hub, tmp_path):
    from rich.console import Console

    from tiktalkcoref.hub.kinds import Sources
    from tiktalkcoref.hub.push import Options, push

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setenv("HF_TOKEN", "hf_writer")
        with pytest.raises(HubError, match="offline mode is on; unset HF_HUB_OFFLINE"):
            push(["metric"], Sources(), Options("writer", {}), Console())
