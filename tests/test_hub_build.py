"""What a push owns: the folder it builds in, the files it wrote to a repository earlier; nothing of anybody else's."""

import json
import signal

import pytest
from hub_pushing import DATASET, DRIVER, METRIC, answers, holds, push, titles
from hub_server import LocalHub, run_client, start_client

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.hub.contents import MANIFEST, Remote, compare, read_folder, read_manifest, write_manifest
from tiktalkcoref.hub.kinds import KINDS
from tiktalkcoref.hub.prepare import prepare


@pytest.fixture
def hub():
    with LocalHub() as server:
        yield server


def add(hub, repo, files: dict[str, bytes], drop: tuple[str, ...] = ()) -> None:
    """Somebody else's commit."""
    repo = hub.repo(*repo)
    kept = {name: file for name, file in repo.find("main").files.items() if name not in drop}
    kept |= {name: hub.store(content) for name, content in files.items()}
    repo.branches["main"] = hub.commit(repo, repo.branches["main"], kept, "by hand", "somebody").oid


# Build folders


def test_a_build_folder_used_again_holds_the_new_build_alone(hub, dataset, sample_corpus, tmp_path):
    pictured = prepare(find_files(sample_corpus), tmp_path / "pictured", regions_dir=sample_corpus / "faces_all")
    first = pictured / "celeb/test-00000-of-00001.parquet"
    with_pictures, more = first.read_bytes(), pictured / "celeb/test-00000-of-00002.parquet"
    first.rename(more)  # shards of another count, as many pictures give
    built = tmp_path / "built"
    run_client(hub, push("dataset", "--dataset", pictured, "--with-pictures", "--build-dir", built), tmp_path)
    assert (built / "dataset/celeb/test-00000-of-00002.parquet").read_bytes() == with_pictures

    run_client(hub, push("dataset", "--dataset", dataset, "--build-dir", built), tmp_path)
    assert not (built / "dataset/celeb/test-00000-of-00002.parquet").exists()
    assert holds(hub, DATASET, built / "dataset")
    remote = hub.repo(*DATASET).find("main").files
    assert remote.keys() - {".gitattributes", MANIFEST} == {
        path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file()
    }
    assert with_pictures not in [hub.content(file) for file in remote.values()]
    assert sorted(path.name for path in built.iterdir()) == ["dataset"]


def test_a_folder_with_other_files_is_not_built_into(hub, dataset, tmp_path):
    names = {"kept": "metric/secret.txt", "user": "metric/README.md", "deep": "metric/a/b.txt", "file": "metric"}
    for folder, name in names.items():
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    own = tmp_path / "own"
    run_client(hub, push("metric", "--dry-run", "--build-dir", own), tmp_path)
    (own / "metric/secret.txt").write_text("mine")  # added to an earlier build
    metric = ["metric", "--namespace", "writer", "--build-dir"]
    cases = [
        ([*metric, "kept"], "kept/metric holds secret.txt, which no push has built"),
        ([*metric, "user"], "user/metric holds README.md"),
        ([*metric, "deep"], "deep/metric holds a/b.txt"),
        ([*metric, "file"], "file/metric is a file"),
        ([*metric, "own"], "own/metric holds secret.txt"),
        (
            ["dataset", "--namespace", "writer", "--dataset", str(dataset), "--build-dir", str(dataset)],
            "cannot be written while",
        ),
    ]
    script = f"import os; os.chdir({str(tmp_path)!r})\n" + DRIVER.format(
        cases=json.dumps([("hf_writer", arguments) for arguments, _ in cases])
    )
    replies = json.loads(run_client(hub, script, tmp_path).stdout.splitlines()[-1])
    for (arguments, expected), (code, error) in zip(cases, replies, strict=True):
        assert (code, error.strip().count("\n")) == (1, 0), (arguments, error)
        assert expected in error, (arguments, error)
    assert not hub.repos
    for folder, name in names.items():
        assert (tmp_path / folder / name).read_text() == "mine"
    assert (own / "metric/secret.txt").read_text() == "mine"
    assert {path.name for path in dataset.iterdir()} == {"README.md", "all", "celeb", "no_celeb", "textual", "visual"}


def test_a_build_that_was_killed_is_built_anew(hub, tmp_path):
    built = tmp_path / "built"
    token = "0123456789ab"  # what a writer that was killed has left: see `files.atomic`
    (built / f".metric.tmp-{token}").mkdir(parents=True)
    (built / f".metric.tmp-{token}/half.py").write_text("")
    (built / f".metric.lock-{token}").touch()
    run_client(hub, push("metric", "--build-dir", built), tmp_path)
    assert sorted(path.name for path in built.iterdir()) == ["metric"]
    assert holds(hub, METRIC, built / "metric")
    assert "half.py" not in hub.repo(*METRIC).find("main").files


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_push_that_is_told_to_end_leaves_no_temporary_folders(hub, dataset, tmp_path, monkeypatch, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    hub.fail("POST .*/commit/main", "hang")
    client = start_client(hub, push("dataset", "--dataset", dataset), tmp_path)
    assert hub.held.wait(100), client.communicate()
    assert any(path.name.startswith("tiktalkcoref-push-") for path in scratch.iterdir())
    client.send_signal(number)
    client.communicate(timeout=60)
    hub.release()
    assert client.returncode != 0
    assert not list(scratch.iterdir())


# Repositories


def test_files_of_others_stay_whatever_they_are_called(hub, dataset, tmp_path):
    """In a repository that was pushed before there was a list of what was pushed, and after."""
    command = push("dataset", "--dataset", dataset)
    run_client(hub, command, tmp_path)
    theirs = {
        "extra/x.parquet": b"1",
        "all/notes/README.md": b"2",
        "all/deep/test-00000-of-00001.parquet": b"3",
        "notes.parquet": b"4",
        "onnx/config.json": b"5",
        "data/train-00000-of-00001.parquet": b"6",
    }
    stale = {"all/train-00000-of-00002.parquet": b"old", "visual/celeb_test-00001-of-00002.parquet": b"old"}
    add(hub, DATASET, theirs | stale, drop=(MANIFEST,))
    result = run_client(hub, [*command, "--dry-run"], tmp_path)
    shown = {line.split()[1] for line in result.stdout.splitlines() if line.startswith("  - ")}
    assert shown == stale.keys()
    run_client(hub, command, tmp_path)
    files = hub.repo(*DATASET).find("main").files
    assert theirs.keys() <= files.keys()
    assert not stale.keys() & files.keys()

    # now there is a list: a file that is called like a shard, but was not pushed, is somebody's
    add(hub, DATASET, stale)
    assert "nothing to change" in run_client(hub, command, tmp_path).stdout
    assert titles(hub, DATASET)[0] == "by hand"
    assert read_manifest(hub.read(*DATASET, MANIFEST)) == {
        path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(
    ("kind", "owned", "foreign"),
    [
        (
            "model",
            {"old_tiktalkcoref.py", "model-00001-of-00003.safetensors", "vocab.txt", "tokenizer.json"},
            {"onnx/config.json", "onnx/model.safetensors", "utils.py", "notes.txt", "x/modeling_tiktalkcoref.py"},
        ),
        ("metric", {"linking.py", "my_metric.py"}, {"tests/scoring.py", "utils.py", "other.txt", "myXmetric.py"}),
        ("dataset", {"celeb/test-00003-of-00004.parquet"}, {"celeb/x/test-00003-of-00004.parquet", "celeb/a.parquet"}),
    ],
)
def test_what_pushes_wrote_before_there_was_a_list(kind, owned, foreign):
    class File:
        lfs, blob_id = None, "1"

    unlisted = [pattern.replace("{name}", "my_metric") for pattern in KINDS[kind].unlisted]
    remote = dict.fromkeys(owned | foreign, File)
    assert compare({}, Remote("1", remote), unlisted).deleted == sorted(owned)
    assert compare({}, Remote("1", remote, frozenset(foreign)), unlisted).deleted == sorted(foreign)
    assert not compare({}, Remote("1", remote, frozenset()), unlisted)


def test_a_list_that_is_none_stops_the_push(hub, tmp_path):
    run_client(hub, push("metric"), tmp_path)
    for content in (b"[]", b"{", b'{"format": 1, "files": [3]}', b'{"format": 2, "files": []}', b"\xff"):
        add(hub, METRIC, {MANIFEST: content})
        ((code, error),) = answers(hub, [("hf_writer", ["metric", "--namespace", "writer"])], tmp_path)
        assert code == 1
        assert f"{MANIFEST} is not as a push writes it; delete it there" in error
        assert titles(hub, METRIC)[0] == "by hand"


def test_the_list_names_what_is_pushed(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("a/b/c.txt", "z.py", "README.md"):
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path)
    assert list(read_folder(tmp_path)) == ["README.md", "a/b/c.txt", "z.py", MANIFEST]
    (tmp_path / "late.txt").write_text("not built")
    assert "late.txt" not in read_folder(tmp_path)


def test_a_repository_of_somebody_else_is_not_pushed_over(hub, dataset, tiny_model_folder, tmp_path):
    cases = []
    theirs = (("dataset", dataset, ["data.csv"]), ("model", tiny_model_folder, ["config.json", "x.py"]))
    for kind, folder, files in theirs:
        hub.create(kind, f"writer/their-{kind}")
        add(hub, (kind, f"writer/their-{kind}"), dict.fromkeys(files, b"{}"))
        cases.append([kind, "--namespace", "writer", "--name", f"their-{kind}", f"--{kind}", str(folder)])
    for code, error in answers(hub, [("hf_writer", arguments) for arguments in cases], tmp_path):
        assert code == 1
        assert "holds something else (no " in error
    assert all(len(repo.history()) == 2 for repo in hub.repos.values())
