"""Inference at any scale: rows in, rows out, whatever they hold and whatever is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tiktalkcoref.cli import app
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.inference.deaths import counted, find_killers
from tiktalkcoref.inference.job import Settings, predict_files
from tiktalkcoref.inference.predictor import Predictor, fast_in_bf16, plan_batches
from tiktalkcoref.inference.sources import FileSource

WORDS = "我你他她这那个男女生儿子妈妈好看爱吗了的是老师小明王"


def dialogue(number: int) -> dict:
    """A dialogue of two or three utterances; the same number gives the same one."""
    draw = random.Random(number)
    sentences = ["".join(draw.choices(WORDS, k=draw.randint(2, 24))) for _ in range(draw.randint(2, 3))]
    return {"doc_key": str(number), "sentences": sentences, "likes": draw.random()}


def write_lines(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def settings(model: Path, **changes) -> Settings:
    return Settings(**{"model": str(model), "precision": "fp32", "format": "jsonl", "shard_rows": 20} | changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*"))}


def run_alone(source: str, rows: Path, folder: Path, model: Path) -> subprocess.Popen:
    """The local engine in a process of its own, over a source of this class."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", RUN, source, rows, folder, model], env=environment)


RUN = """
import sys
from pathlib import Path
from inference_poison import FileSource, PoisonSource
from tiktalkcoref.inference.job import Settings, predict_files
source, (rows, folder, model) = globals()[sys.argv[1]], map(Path, sys.argv[2:])
predict_files(source([rows]), folder, Settings(str(model), "fp32", format="jsonl", shard_rows=20))
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """130 dialogues as JSON lines."""
    return write_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", [dialogue(n) for n in range(130)])


@pytest.fixture(scope="module")
def undisturbed(rows, tiny_model_folder, tmp_path_factory) -> dict[str, bytes]:
    """What a run that nothing happens to writes: 7 shards."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    assert predict_files(FileSource([rows]), folder, settings(tiny_model_folder)) == {"rows": 130, "errors": 0}
    assert len(contents(folder)) == 7
    return contents(folder)


def test_lines_json_and_parquet_give_the_same_rows(rows, undisturbed, tiny_model_folder, tmp_path):
    found = read_lines(rows)
    (tmp_path / "rows.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "rows.parquet", row_group_size=33)
    for name in ("rows.json", "rows.parquet"):
        predict_files(FileSource([tmp_path / name]), tmp_path / f"out-{name[5:]}", settings(tiny_model_folder))
        assert contents(tmp_path / f"out-{name[5:]}") == undisturbed
    one = [json.loads(line) for part in undisturbed.values() for line in part.splitlines()]
    assert [row["row"] for row in one] == list(range(130))
    assert [row["sentences"] for row in one] == [row["sentences"] for row in found]
    assert sum(len(row["clusters"]) for row in one) > 130


def test_parquet_out_has_one_schema_and_the_same_results(rows, undisturbed, tiny_model_folder, tmp_path):
    mixed = write_lines(
        tmp_path / "mixed.jsonl", [*[dialogue(n) for n in range(40)], 5, {"sentences": 7, "doc_key": 3}]
    )
    keep = settings(tiny_model_folder, format="parquet", keep=("doc_key", "likes", "sentences"))
    assert predict_files(FileSource([mixed]), tmp_path / "out", keep) == {"rows": 42, "errors": 2}
    tables = [pq.read_table(path) for path in sorted((tmp_path / "out").glob("part-*"))]
    assert len({table.schema.to_string() for table in tables}) == 1
    table = pa.concat_tables(tables).to_pylist()
    before = [json.loads(line) for part in undisturbed.values() for line in part.splitlines()][:40]
    for row, other in zip(table, before, strict=False):
        for cluster in row["clusters"]:
            assert all(cluster.pop(key) is None for key in ("region", "region_score", "region_scores"))
        assert (row["clusters"], row["error"]) == (other["clusters"], None)
        assert json.loads(row["likes"]) == dialogue(row["row"])["likes"]
    assert table[41]["doc_key"] == "3"
    predict_files(FileSource([mixed]), tmp_path / "one.parquet", keep)
    assert pq.read_table(tmp_path / "one.parquet").equals(pa.concat_tables(tables))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed.jsonl", "one.parquet", "out"]


def test_bad_rows_carry_their_message_and_the_others_come_out(tiny_model_folder, tmp_path, capsys):
    """Broken pictures, empty dialogues, wrong types, null, 100,000 characters, a picture of 200 megapixels."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    Image.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")
    good = [dialogue(n) | {"regions": ["good.png", "good.png"]} for n in range(60)]
    bad = [
        (good[0] | {"regions": ["broken.png"]}, "broken.png"),
        (good[0] | {"regions": ["huge.png"]}, "limit"),
        (good[0] | {"regions": ["none.png"]}, "no such file"),
        (good[0] | {"sentences": "他"}, "sentences: found a value of type str"),
        ({"sentences": []}, "sentences is empty"),
        ({"sentences": [3]}, "sentences[0]"),
        ({"sentences": ["他" * 100_000]}, "100,000 characters"),
        ({"sentences": ["他"], "speakers": 3}, "speakers"),
        ({"talk": ["他"]}, "no sentences; keys found: talk"),
        ({}, "no sentences"),
        (None, "found null"),
        (7, "found int"),
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in good] + ['{"sentences": ["他"', '"\\ud800"']
    places = random.Random(0).sample(range(72), len(bad))
    for place, (row, _) in sorted(zip(places, bad, strict=True)):
        lines.insert(place, json.dumps(row, ensure_ascii=False))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = ["predict", "--model", str(tiny_model_folder), "--input", str(tmp_path / "rows.jsonl")]
    command += ["--precision", "fp32", "--output", str(tmp_path / "out.jsonl")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "wrote 74 rows, 14 errors" in result.output
    found = read_lines(tmp_path / "out.jsonl")
    assert [row["row"] for row in found] == list(range(74))
    for place, (_, message) in sorted(zip(places, bad, strict=True)):
        assert message in found[place]["error"]
    assert all("row" in row["error"] for row in found[-2:])
    fine = [row for row in found if row["error"] is None]
    assert [row["doc_key"] for row in fine] == [row["doc_key"] for row in good]
    assert all(len(cluster["region_scores"]) == 2 for row in fine for cluster in row["clusters"])
    assert CliRunner().invoke(app, [*command, "--fail-on-error"]).exit_code == 3


def test_pictures_as_bytes(tiny_model_folder, tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "good.png")
    data = (tmp_path / "good.png").read_bytes()
    table = [{"sentences": ["我爱他"], "regions": [data]}, {"sentences": ["我爱他"], "regions": [b"no picture"]}]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "rows.parquet")
    predict_files(FileSource([tmp_path / "rows.parquet"]), tmp_path / "out.jsonl", settings(tiny_model_folder))
    one, two = read_lines(tmp_path / "out.jsonl")
    assert one["error"] is None
    assert "text_only" not in one
    assert "10 bytes that are no picture" in two["error"]


def test_a_run_that_is_killed_goes_on(rows, undisturbed, tiny_model_folder, tmp_path):
    """Shards that are there are not touched, one that is missing is made again, leftovers of a writer go."""
    folder = tmp_path / "out"
    predict_files(FileSource([rows]), folder, settings(tiny_model_folder))
    kept = (folder / "part-000000.jsonl").stat().st_mtime_ns
    (folder / "part-000003.jsonl").unlink()
    (folder / ".part-000003.jsonl.lock-0123456789ab").touch()
    (folder / ".part-000003.jsonl.tmp-0123456789ab.jsonl").write_text("half")
    predict_files(FileSource([rows]), folder, settings(tiny_model_folder))
    assert contents(folder) == undisturbed
    assert (folder / "part-000000.jsonl").stat().st_mtime_ns == kept
    assert not list(folder.glob(".part*"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_twenty_random_moments(rows, undisturbed, tiny_model_folder, tmp_path):
    """SIGKILL from the loading of the model to the last shard; each time the next run goes on. Seed 0."""
    draw = random.Random(0)
    begun = time.monotonic()
    assert run_alone("FileSource", rows, tmp_path / "usual", tiny_model_folder).wait() == 0
    usual = time.monotonic() - begun
    for moment in range(20):
        folder = tmp_path / f"out{moment}"
        process = run_alone("FileSource", rows, folder, tiny_model_folder)
        time.sleep(usual * draw.uniform(0.4, 1.0))
        process.kill()
        process.wait()
        assert contents(folder).items() <= undisturbed.items()  # what is there is whole
        assert run_alone("FileSource", rows, folder, tiny_model_folder).wait() == 0
        assert contents(folder) == undisturbed
        assert not list(folder.glob(".*.tries"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_rows_that_kill_their_process_are_found_by_the_third_start(tiny_model_folder, tmp_path):
    lines = [dialogue(number) | ({"doc_key": "poison"} if number in (3, 27, 38) else {}) for number in range(50)]
    job = "PoisonSource", write_lines(tmp_path / "rows.jsonl", lines), tmp_path / "out", tiny_model_folder
    ended = [run_alone(*job).wait() for _ in range(5)]  # two shards of three have such rows
    assert ended == [-signal.SIGKILL] * 4 + [0]
    found = [json.loads(line) for part in contents(tmp_path / "out").values() for line in part.splitlines()]
    assert [row["row"] for row in found] == list(range(50))
    bad = {row["row"]: row["error"] for row in found if row["error"] is not None}
    assert bad == {
        number: f"row {number} killed the process that read it, alone and twice (SIGKILL)" for number in (3, 27, 38)
    }
    assert found[3]["sentences"] == lines[3]["sentences"]
    assert not list((tmp_path / "out").glob(".part*"))


@pytest.mark.parametrize("deaths", [1, 3, 5])
def test_a_shard_that_kills_again_and_again_comes_to_an_end(rows, undisturbed, tiny_model_folder, tmp_path, deaths):
    """Made again as it was; then without batches; then given up, its rows with a message."""
    folder, path = tmp_path / "out", tmp_path / "out" / "part-000002.jsonl"
    predict_files(FileSource([rows]), folder, settings(tiny_model_folder))
    path.unlink()
    path.with_name(f".{path.name}.tries").write_bytes(b"." * deaths)
    summary = predict_files(FileSource([rows]), folder, settings(tiny_model_folder))
    assert summary == {"rows": 130, "errors": 20 * (deaths == 5)}
    found, before = read_lines(path), [json.loads(line) for line in undisturbed[path.name].splitlines()]
    assert [row["row"] for row in found] == [row["row"] for row in before]
    if deaths == 5:
        assert {row["error"] for row in found} == {"rows 40 to 59: their process died 5 times; not tried any more"}
    else:
        assert [len(row["clusters"]) for row in found] == [len(row["clusters"]) for row in before]
    assert not list(folder.glob(".part*"))


def test_an_error_is_no_death(tmp_path):
    path = tmp_path / "part"
    with pytest.raises(OSError, match="full"), counted(path):
        raise OSError("the disk is full")
    with counted(path) as deaths:
        assert deaths == 0


def test_the_reason_why_rows_cannot_be_read_alone_is_told(rows, tmp_path):
    (shard, *_) = FileSource([rows]).shards(20)
    with pytest.raises(RuntimeError, match=r"ended with code 1: .*holds no model"):
        find_killers(FileSource([rows]), shard, settings(tmp_path).predictor)


def test_results_of_another_run_are_not_mixed_in(rows, tiny_model_folder, tmp_path):
    predict_files(FileSource([rows]), tmp_path / "out", settings(tiny_model_folder, shard_rows=100))
    with pytest.raises(UserError, match=r"results of another run .different settings."):
        predict_files(FileSource([rows]), tmp_path / "out", settings(tiny_model_folder, batch_tokens=64))
    other = write_lines(tmp_path / "other.jsonl", [dialogue(0)])
    with pytest.raises(UserError, match=r"results of another run .different input."):
        predict_files(FileSource([other]), tmp_path / "out", settings(tiny_model_folder, shard_rows=100))
    with pytest.raises(UserError, match="is not empty and holds no results"):
        predict_files(FileSource([other]), tmp_path, settings(tiny_model_folder))


def test_input_that_cannot_be_used_is_told_before_a_model_is_loaded(tmp_path):
    nothing, text = settings(tmp_path / "no-model"), tmp_path / "empty.jsonl"
    text.touch()
    pq.write_table(pa.table({"talk": ["他"]}), tmp_path / "talk.parquet")
    (tmp_path / "bad.parquet").write_text("no")
    for path, message in (
        (text, "holds no dialogue"),
        (tmp_path / "none.jsonl", "no such file"),
        (tmp_path / "talk.parquet", "no column sentences; columns found: talk"),
        (tmp_path / "bad.parquet", "is no Parquet file"),
    ):
        with pytest.raises(UserError, match=message):
            predict_files(FileSource([path]), tmp_path / "out", nothing)


def test_the_output_is_looked_at_first(rows, tmp_path):
    (tmp_path / "out.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        predict_files(FileSource([rows]), tmp_path / "out.jsonl", settings(tmp_path / "no-model"))


def test_an_input_is_not_replaced(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"sentences": ["他来了"]}\n', encoding="utf-8")
    with pytest.raises(UserError, match="is an input: name another place"):
        predict_files(FileSource([source]), source, Settings("no model is loaded"))
    assert source.read_text(encoding="utf-8") == '{"sentences": ["他来了"]}\n'


def test_batches_are_planned_by_tokens():
    dialogues = [(n, {"sentences": ["他" * n], "regions": [None] * (n % 2)}) for n in range(1, 60)]
    batches = list(plan_batches(dialogues, 600))
    assert sorted(number for batch in batches for number, _ in batch) == list(range(1, 60))
    for batch in batches:
        pictures = sum(len(d["regions"]) for _, d in batch)
        assert len(batch) == 1 or max(n + 3 for n, _ in batch) * len(batch) + 128 * pictures <= 600
    assert len(batches) < 20


def test_a_dataset_is_read_without_its_labels(dataset, tiny_model_folder, tmp_path):
    command = ["predict", "--model", str(tiny_model_folder), "--dataset", str(dataset), "--config", "celeb"]
    result = CliRunner().invoke(app, [*command, "--split", "train", "--output", str(tmp_path / "out.jsonl")])
    assert result.exit_code == 0, result.output
    found = read_lines(tmp_path / "out.jsonl")
    assert {tuple(row) for row in found} == {("row", "doc_key", "sentences", "clusters", "text_only", "error")}
    assert {row["error"] for row in found} == {None}


def test_bf16_is_the_default_only_where_it_is_faster(monkeypatch):
    found: dict[str, bool] = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert not fast_in_bf16(torch.device("cpu"))
    found["amx_bf16"] = True
    assert fast_in_bf16(torch.device("cpu"))


def test_bf16_finds_clusters_too(rows, tiny_model_folder):
    given = read_lines(rows)[:40]
    exact, short = (Predictor(tiny_model_folder, precision)(given, rows.parent) for precision in ("fp32", "bf16"))
    assert exact != short
    counts = [sum(len(answer["clusters"]) for answer in answers) for answers in (exact, short)]
    assert counts[1] == pytest.approx(counts[0], rel=0.2)
