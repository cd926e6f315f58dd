"""JSON lines: what a line is, what is refused and where it stood, and that a file is whole or not there."""

import json
from pathlib import Path

import pytest

from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.jsonl import JsonError, parse_json, read_jsonl, write_jsonl


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [{"text": "他\u2028她\x85\r\n😀", "n": 1.5}, [], None, "\ufeff"]
    assert write_jsonl(tmp_path / "a.jsonl", rows) == 4
    assert list(read_jsonl(tmp_path / "a.jsonl")) == list(enumerate(rows, 1))
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 4
    assert "他\u2028她".encode() in (tmp_path / "a.jsonl").read_bytes()  # as itself, not as an escape


def test_line_numbers_count_every_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n[2]')
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [(1, {"a": 1}), (4, [2])]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1', "not JSON"),
        (b'{"a": 1} {"b": 2}', "not JSON"),
        (b'{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}', "the key 'c' stands twice"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"[" + b"9" * 5000 + b"]", "not JSON"),
        ('"他"'.encode("gbk"), "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (rb'["\uD800"]', "half a character"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),  # in the first line alone
    ],
)
def test_what_is_refused(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" + (line if message != "not JSON" or not line.startswith(b"\xef") else b" " + line) + b"\n")
    rows = read_jsonl(path)
    assert next(rows) == (1, {})
    with pytest.raises(JsonError, match=message) as caught:
        next(rows)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert isinstance(caught.value, UserError)


def test_a_pair_of_halves_is_a_character() -> None:
    assert parse_json(rb'"\ud83d\ude00"', "here") == "😀"


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(tmp_path / "a.jsonl", [2, float("nan")])
    assert json.loads((tmp_path / "a.jsonl").read_text()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
