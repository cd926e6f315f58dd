"""`tiktalkcoref push` against a local Hub, from processes of their own: commits, refusals, faults, races."""

import json
import re
import subprocess

import pytest
from hub_pushing import DATASET, DRIVER, METRIC, MODEL, answers, holds, push, titles
from hub_server import Account, LocalHub, run_client, start_client

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.hub.contents import MANIFEST
from tiktalkcoref.hub.kinds import KINDS
from tiktalkcoref.hub.prepare import prepare


@pytest.fixture
def hub():
    with LocalHub() as server:
        yield server


def test_a_push_is_one_commit_and_a_repeated_one_none(hub, dataset, tmp_path):
    first = run_client(hub, push("dataset", "--dataset", dataset, "--collection"), tmp_path)
    assert titles(hub, DATASET) == ["Release 0.1.0", "initial commit"]
    assert hub.repo(*DATASET).tags == {"v0.1.0": hub.repo(*DATASET).branches["main"]}
    assert f"{hub.url}/datasets/writer/tiktalkcoref/tree/v0.1.0" in first.stdout
    assert "+ celeb/test-00000-of-00001.parquet" in first.stdout
    assert 'load_dataset("writer/tiktalkcoref", "celeb")' in hub.read(*DATASET, "README.md").decode()

    writes = len(hub.requested("POST|PUT"))
    second = run_client(hub, push("dataset", "--dataset", dataset), tmp_path)
    assert "nothing to change" in second.stdout
    assert len(hub.requested("POST|PUT")) == writes
    assert [(item["id"], item["type"]) for item in next(iter(hub.collections.values()))["items"]] == [
        ("writer/tiktalkcoref", "dataset")
    ]


def test_only_what_changed_is_committed(hub, dataset, tmp_path):
    folder = tmp_path / "changing"
    subprocess.run(["cp", "-r", dataset, folder], check=True)
    hub.page_size = 3  # the listing comes in pages
    command = push("dataset", "--dataset", folder)
    run_client(hub, command, tmp_path)
    # somebody adds a file on the Hub; a table disappears here, and from the card
    repo = hub.repo(*DATASET)
    head = repo.find("main")
    note = {**head.files, "NOTES.md": hub.store(b"by hand")}
    repo.branches["main"] = hub.commit(repo, head.oid, note, "a note", "somebody").oid
    (folder / "visual/celeb_test-00000-of-00001.parquet").unlink()
    card = folder / "README.md"
    listed = "  - split: celeb_test\n    path: visual/celeb_test-*\n"
    assert listed in card.read_text()
    card.write_text(card.read_text().replace(listed, "") + "\nOne more line.\n")

    dry = run_client(hub, [*command, "--dry-run"], tmp_path)
    assert titles(hub, DATASET) == ["a note", "Release 0.1.0", "initial commit"]
    shown = {line.split()[0] + line.split()[1] for line in dry.stdout.splitlines() if line.startswith("  ")}
    assert shown == {"~README.md", "-visual/celeb_test-00000-of-00001.parquet"}

    run_client(hub, command, tmp_path)
    assert titles(hub, DATASET) == ["Update to 0.1.0", "a note", "Release 0.1.0", "initial commit"]
    before, after = repo.history()[1].files, repo.find("main").files
    assert before.keys() - after.keys() == {"visual/celeb_test-00000-of-00001.parquet"}
    assert {name for name in after if after[name] != before[name]} == {
        "README.md",
        MANIFEST,
    }  # the list is shorter, too
    assert "NOTES.md" in after
    assert repo.tags == {"v0.1.0": repo.history()[2].oid, "v0.1.0-2": repo.branches["main"]}


def test_a_dry_run_creates_nothing(hub, dataset, tmp_path):
    result = run_client(hub, push("dataset", "--dataset", dataset, "--dry-run"), tmp_path)
    assert "(new)" in result.stdout
    assert "+ README.md" in result.stdout
    assert not hub.repos
    assert not hub.requested("POST|PUT")


def test_branches_privacy_and_names(hub, tmp_path):
    command = push("metric", "--private", "--revision", "next", "--name", "my_metric", namespace="lab")
    run_client(hub, command, tmp_path)
    repo = hub.repo("space", "lab/my_metric")
    assert repo.private
    assert len(repo.history("next")) == 2
    assert len(repo.history("main")) == 1
    assert not repo.tags
    files = repo.find("next").files
    assert {"my_metric.py", "app.py", "README.md", "requirements.txt", "coreference.py"} <= files.keys()
    assert 'evaluate.load("lab/my_metric")' in hub.read("space", "lab/my_metric", "my_metric.py", "next").decode()
    run_client(hub, command, tmp_path)
    assert len(repo.history("next")) == 2


def test_one_pull_request_and_no_second(hub, tmp_path):
    hub.create(*METRIC, sdk="gradio")
    hub.fail("POST .*/commit/", "lost")
    first = run_client(hub, push("metric", "--create-pr"), tmp_path)
    repo = hub.repo(*METRIC)
    assert titles(hub, METRIC) == ["initial commit"]
    assert list(repo.requests) == [1]
    assert "tiktalkcoref_metric.py" in repo.find("refs/pr/1").files
    assert "/discussions/1" in first.stdout
    second = run_client(hub, push("metric", "--create-pr"), tmp_path)
    assert list(repo.requests) == [1]
    assert "already open" in second.stdout


# Refusals: one line, exit code 1, nothing created. All of them in one process: the token is read at each call.


def test_refusals_are_one_line_and_create_nothing(hub, dataset, sample_corpus, tmp_path):
    hub.accounts |= {
        "hf_fine": Account("writer", permissions=["repo.content.read"]),
        "hf_fine_write": Account("writer", permissions=["repo.write"]),
    }
    hub.create("model", "writer/taken")
    hub.create("dataset", "writer/data")
    hub.create("space", "writer/other", sdk="gradio")
    other = hub.repo("space", "writer/other")
    demo = {"app.py": hub.store(b"import gradio"), "index.html": hub.store(b"<p>")}
    other.branches["main"] = hub.commit(other, other.branches["main"], demo, "a demo", "writer").oid
    pictured = prepare(
        find_files(sample_corpus),
        tmp_path / "pictured",
        frames_dir=sample_corpus / "frames",
        regions_dir=sample_corpus / "faces_all",
    )
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled/config.json").write_text('{"model_type": "tiktalkcoref"}')
    (tmp_path / "pickled/pytorch_model.bin").write_bytes(b"\x80")
    metric, mine = ["metric", "--namespace"], ["--namespace", "writer"]
    cases = [
        ("hf_wrong", [*metric, "writer"], "does not accept the token"),
        (None, [*metric, "writer"], "no Hub token found"),
        ("hf_reader", [*metric, "reader"], "only reads: make one with the role `write`"),
        ("hf_fine", [*metric, "writer"], "tick `repo.write`"),
        (
            "hf_writer",
            [*metric, "elsewhere"],
            "writer is no member of elsewhere: --namespace can be one of writer, lab",
        ),
        ("hf_writer", [*metric, "museum"], "writer only reads in museum"),
        ("hf_writer", ["metric", *mine, "--name", "taken"], "writer/taken is a model already"),
        ("hf_writer", ["metric", *mine, "--name", "data"], "writer/data is a dataset already"),
        ("hf_writer", ["metric", *mine, "--name", "other"], "holds something else (no other.py)"),
        ("hf_writer", ["metric", *mine, "--name", "other", "--private"], "is public"),
        ("hf_writer", ["metric", *mine, "--name", "a.b"], "letters, digits"),
        ("hf_writer", ["metric", *mine, "--name", "coreference"], "one of its own modules has that name"),
        ("hf_writer", ["all", *mine, "--name", "x"], "write KIND=NAME"),
        ("hf_writer", ["metric", *mine, "--name", "metric=tiktalkcoref"], "two kinds would be called tiktalkcoref"),
        ("hf_writer", ["metric", *mine, "--create-pr"], "there is no space writer/tiktalkcoref_metric"),
        ("hf_writer", ["metric", *mine, "--create-pr", "--revision", "x"], "leave out --revision x"),
        ("hf_writer", ["paper", *mine], "cannot push 'paper': expected one of dataset, metric, model, space or all"),
        ("hf_writer", ["dataset", *mine, "--dataset", str(tmp_path)], "is no prepared dataset"),
        (
            "hf_writer",
            ["dataset", *mine, "--dataset", str(pictured)],
            "pictures. The annotations are MIT; the pictures",
        ),
        ("hf_writer", ["model", *mine], "name its folder with --model"),
        ("hf_writer", ["model", *mine, "--model", str(dataset)], "has no config.json"),
        ("hf_writer", ["model", *mine, "--model", str(tmp_path / "pickled")], "holds pytorch_model.bin, which can run"),
    ]
    before = dict(hub.repos)
    replies = answers(hub, [case[:2] for case in cases], tmp_path)
    for (_, arguments, expected), (code, error) in zip(cases, replies, strict=True):
        assert code == 1, (arguments, error)
        assert expected in error, (arguments, error)
        assert error.strip().count("\n") == 0, error
        assert error.startswith("error: ")
    assert hub.repos == before
    assert not hub.requested("POST|PUT|DELETE")

    run_client(hub, push("metric"), tmp_path, token="hf_fine_write")
    assert len(titles(hub, METRIC)) == 2


def test_pictures_go_with_the_flag_alone(hub, sample_corpus, tmp_path):
    folder = prepare(find_files(sample_corpus), tmp_path / "pictured", regions_dir=sample_corpus / "faces_all")
    run_client(hub, push("dataset", "--dataset", folder, "--with-pictures"), tmp_path)
    assert len(titles(hub, DATASET)) == 2


# Faults


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("POST /api/repos/create", "lost"),
        pytest.param("POST /api/repos/create", "503", marks=pytest.mark.slow),
        ("POST .*/commit/main", "lost"),
        pytest.param("POST .*/commit/main", "drop", marks=pytest.mark.slow),
        ("POST .*/commit/main", "garbled"),
        pytest.param("POST .*/tag/", "lost", marks=pytest.mark.slow),
    ],
)
def test_a_fault_at_a_step_that_the_client_does_not_repeat(hub, tmp_path, pattern, kind):
    hub.fail(pattern, kind)
    result = run_client(hub, push("metric", "--build-dir", tmp_path / "built"), tmp_path)
    assert titles(hub, METRIC) == ["Release 0.1.0", "initial commit"]
    assert holds(hub, METRIC, tmp_path / "built/metric")
    assert list(hub.repo(*METRIC).tags) == ["v0.1.0"]
    assert "/commit/" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_hub_that_stays_away_ends_in_one_line(hub, tmp_path):
    hub.fail("POST /api/repos/create", "503", times=100)
    script = "from tiktalkcoref.hub import retrying; retrying.LONGEST_WAIT = 0.01\n" + DRIVER.format(
        cases=json.dumps([["hf_writer", ["metric", "--namespace", "writer"]]])
    )
    code, error = json.loads(run_client(hub, script, tmp_path).stdout.splitlines()[-1])[0]
    assert code == 1
    assert "no success in 10 attempts" in error
    assert error.strip().count("\n") == 0
    assert not hub.repos


@pytest.mark.parametrize(
    "seed", [pytest.param(0), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 16))]
)
def test_every_fifth_request_fails(dataset, tmp_path, seed):
    with LocalHub(seed=seed) as hub:
        hub.fault_rate = 0.2
        arguments = ("dataset", "--dataset", dataset, "--build-dir", tmp_path / "built")
        run_client(hub, push(*arguments), tmp_path)
        assert titles(hub, DATASET) == ["Release 0.1.0", "initial commit"]
        assert holds(hub, DATASET, tmp_path / "built/dataset")
        assert hub.repo(*DATASET).tags == {"v0.1.0": hub.repo(*DATASET).branches["main"]}
        assert len([entry for entry in hub.log if entry[2] in (503, "drop", "lost")]) > 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_every_fifth_request_fails_with_all_three(dataset, tiny_model_folder, tmp_path, seed):
    with LocalHub(seed=seed) as hub:
        hub.fault_rate = 0.2
        arguments = (
            "--dataset",
            dataset,
            "--model",
            tiny_model_folder,
            "--build-dir",
            tmp_path / "built",
            "--collection",
        )
        run_client(hub, push("all", *arguments), tmp_path)
        for kind, repo in zip(("dataset", "space", "model"), (DATASET, METRIC, MODEL), strict=True):
            assert titles(hub, repo) == ["Release 0.1.0", "initial commit"]
            assert holds(hub, repo, tmp_path / "built" / {"space": "metric"}.get(kind, kind))
            assert hub.repo(*repo).tags == {"v0.1.0": hub.repo(*repo).branches["main"]}
        assert len(next(iter(hub.collections.values()))["items"]) == len(KINDS)


@pytest.mark.slow
def test_killed_at_every_request(dataset, tmp_path):
    """A push that is killed at its first request, another at its second, ...: the next one always ends right."""
    with LocalHub() as hub:
        run_client(hub, push("dataset", "--dataset", dataset), tmp_path)
        steps = list(dict.fromkeys(re.sub("[0-9a-f]{40,}", "", f"{entry[0]} {entry[1]}$") for entry in hub.log))
    assert len(steps) > 12
    for number, step in enumerate(steps):
        with LocalHub() as hub:
            hub.fail(re.escape(step).replace(r"\$", "").replace("//", "/.*/"), "hang")
            command = push("dataset", "--dataset", dataset, "--build-dir", tmp_path / "built")
            process = start_client(hub, command, tmp_path)
            assert hub.held.wait(60), (step, process.communicate())
            process.kill()
            process.communicate()
            hub.release()
            assert all(len(repo.history()) <= 2 for repo in hub.repos.values()), step
            run_client(hub, command, tmp_path)
            assert titles(hub, DATASET) == ["Release 0.1.0", "initial commit"], (number, step)
            assert holds(hub, DATASET, tmp_path / "built/dataset")


@pytest.mark.parametrize("pattern", ["POST .*/commit/main", pytest.param("POST .*/tag/", marks=pytest.mark.slow)])
def test_killed_and_repeated(hub, dataset, tmp_path, pattern):
    hub.fail(pattern, "hang")
    command = push("dataset", "--dataset", dataset, "--build-dir", tmp_path / "built")
    process = start_client(hub, command, tmp_path)
    assert hub.held.wait(60), process.communicate()
    process.kill()
    process.communicate()
    hub.release()
    done = pattern.endswith("/tag/")
    assert len(titles(hub, DATASET)) == 1 + done  # all of it or nothing
    run_client(hub, command, tmp_path)
    assert titles(hub, DATASET) == ["Release 0.1.0", "initial commit"]
    assert holds(hub, DATASET, tmp_path / "built/dataset")
    assert list(hub.repo(*DATASET).tags) == ["v0.1.0"]


def test_two_pushes_at_once(hub, dataset, tmp_path):
    """The same content gives one commit; different content two, the later on top of the earlier."""
    hub.delay = 0.05  # both are under way before either is done
    folders = [dataset, dataset, tmp_path / "one", tmp_path / "other"]
    for folder in folders[2:]:
        subprocess.run(["cp", "-r", dataset, folder], check=True)
        card = folder / "README.md"
        card.write_text(card.read_text() + f"\nThe end of {folder.name}.\n")
    for pair, commits in (((0, 1), 2), ((2, 3), 4)):
        clients = []
        for number in pair:
            command = push("dataset", "--dataset", folders[number], "--build-dir", tmp_path / f"built{number}")
            clients.append(start_client(hub, command, tmp_path))
        for client in clients:
            output, errors = client.communicate(timeout=120)
            assert client.returncode == 0, output + errors
        assert len(titles(hub, DATASET)) == commits
        assert any(holds(hub, DATASET, tmp_path / f"built{number}/dataset") for number in pair)
    last, first = hub.repo(*DATASET).history()[:2]
    assert last.parent == first.oid
    assert last.files["README.md"] != first.files["README.md"]


def test_another_commit_in_between(hub, dataset, tmp_path):
    """A commit that lands between reading and committing: 412, read again, commit on top of it."""
    hub.create(*DATASET)
    hub.fail("POST .*/commit/main", "late")
    client = start_client(hub, push("dataset", "--dataset", dataset), tmp_path)
    assert hub.held.wait(60), client.communicate()
    repo = hub.repo(*DATASET)
    files = {**repo.find("main").files, "NOTES.md": hub.store(b"by hand")}
    repo.branches["main"] = hub.commit(repo, repo.branches["main"], files, "a note", "somebody").oid
    hub.release()
    output, errors = client.communicate(timeout=120)
    assert client.returncode == 0, output + errors
    assert [entry[2] for entry in hub.requested("POST .*/commit/main")] == ["late", 412, 200]
    assert titles(hub, DATASET) == ["Release 0.1.0", "a note", "initial commit"]
    assert "NOTES.md" in repo.find("main").files
