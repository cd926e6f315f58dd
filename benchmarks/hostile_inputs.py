"""Several hundred inputs that are wrong, given to the commands: what becomes of each?

Every case says what should happen: `refused` (exit code not 0, one message, no traceback), `taken` (exit code 0), or
`either`. Nothing may end in a traceback, in no end (a time limit a case), or lose what was already written.

    python benchmarks/hostile_inputs.py            all kinds, a table at the end; exit code 1 if any case went wrong
    python benchmarks/hostile_inputs.py --kind corpus --verbose
"""

import argparse
import copy
import io
import json
import os
import shutil
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

SECONDS = 60  # until a case counts as endless
OUTCOMES = ("message", "taken", "silently wrong", "refused but fine", "traceback", "no end", "lost")


@dataclass
class Case:
    """One command line and what should become of it; `kept` are files that must be unchanged afterwards."""

    kind: str
    name: str
    arguments: list[str]
    expected: str
    kept: list[Path] = field(default_factory=list)


class Endless(BaseException):
    """The time limit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=sorted(KINDS), action="append")
    parser.add_argument("--verbose", action="store_true", help="print the message of every case")
    options = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    wrong: list[tuple[Case, str, str]] = []
    counts = {kind: Counter() for kind in options.kind or KINDS}
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder))
        cases = [case for kind in counts for case in KINDS[kind](room)]
        for case in track(cases, "trying", console=Console(stderr=True)):
            outcome, output = judge(case)
            counts[case.kind][outcome] += 1
            if outcome not in ("message", "taken"):
                wrong.append((case, outcome, output))
            if options.verbose:
                console.print(f"{case.kind} · {case.name}: {outcome}: {output.strip()[-300:]}", markup=False)
    table = Table("kind", "cases", *OUTCOMES, title=f"{len(cases)} hostile inputs")
    for kind, count in counts.items():
        table.add_row(kind, str(count.total()), *(str(count[outcome] or "") for outcome in OUTCOMES))
    console.print(table)
    for case, outcome, output in wrong:
        console.print(f"{outcome}: {case.kind} · {case.name}\n    {output.strip()[-400:]}", markup=False)
    sys.exit(1 if wrong else 0)


def judge(case: Case) -> tuple[str, str]:
    """Run a case in this process; which of OUTCOMES it came to, and what was printed."""
    before = {path: path.read_bytes() for path in case.kept}
    code, output = run(case.arguments)
    if any(not path.is_file() or path.read_bytes() != content for path, content in before.items()):
        return "lost", output
    if code == "endless":
        return "no end", output
    if code == "traceback" or "Traceback (most recent call last)" in output or "this is a bug" in output.lower():
        return "traceback", output
    if code == 0:
        return ("silently wrong" if case.expected == "refused" else "taken"), output
    if not output.strip():
        return "traceback", "(no message)"
    return ("refused but fine" if case.expected == "taken" else "message"), output


def run(arguments: list[str]) -> tuple[Any, str]:
    """The command line in this process, with a time limit."""
    from tiktalkcoref import cli

    def stop(*_: object) -> None:
        raise Endless

    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    previous, argv = signal.signal(signal.SIGALRM, stop), sys.argv
    sys.argv = ["tiktalkcoref", *arguments]
    signal.alarm(SECONDS)
    code: Any = 0
    try:
        with redirect_stdout(stream), redirect_stderr(stream):
            cli.main()
    except SystemExit as error:
        code = error.code or 0
    except Endless:
        code = "endless"
    except BaseException as error:
        code = "traceback"
        stream.write(f"{type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        sys.argv = argv
    stream.seek(0)
    return code, stream.buffer.getvalue().decode("utf-8", "replace")


class Room:
    """Sound things to be spoilt: a small corpus, its dataset folder, a small random model, pictures."""

    def __init__(self, folder: Path) -> None:
        from tiktalkcoref.sample import write_sample

        self.folder = folder
        self.number = 0
        self.corpus = write_sample(folder / "corpus", seed=0, dialogues=24)
        self.annotations = next(self.corpus.glob("all_textual*"))
        self.lines = self.annotations.read_text(encoding="utf-8").splitlines()
        self.dataset = folder / "dataset"
        code, output = run(["prepare", "--data-dir", str(self.corpus), "--output-dir", str(self.dataset)])
        assert code == 0, output
        self.model = self._model()
        self.picture = folder / "head.png"
        Image.new("RGB", (40, 40), "red").save(self.picture)

    def new(self, name: str) -> Path:
        """A path that is not there yet."""
        self.number += 1
        return self.folder / f"{self.number}-{name}"

    def _model(self) -> Path:
        import torch
        from transformers import BertConfig

        from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
        from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor
        from tiktalkcoref.training.building import character_tokenizer

        torch.manual_seed(0)
        tokenizer = character_tokenizer([])
        text = BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
        vision = {
            "architecture": "vit_tiny_patch16_224",
            "image_size": 32,
            "model_args": {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 2},
        }
        ids = {name: getattr(tokenizer, name) for name in ("cls_token_id", "sep_token_id", "pad_token_id")}
        model = TikTalkCorefModel.from_encoders(text, vision, mention_threshold=0.05, **ids)
        folder = self.folder / "model"
        model.save_pretrained(folder)
        TikTalkCorefProcessor.from_config(model.config, tokenizer).save_pretrained(folder)
        return folder


# The corpus


def corpus_cases(room: Room) -> Iterator[Case]:
    """Annotation, split and title files: each spoilt in one way, given to `validate`, `stats`, `prepare`, `split`."""

    def case(name: str, lines: list[bytes], expected: str, file: str = "annotations", command: str = "prepare") -> Case:
        folder = room.new("corpus")
        shutil.copytree(room.corpus, folder)
        spoilt = {"annotations": room.annotations.name, "splits": "split.jsonl", "titles": "video_titles.jsonl"}[file]
        (folder / spoilt).write_bytes(b"".join(line + b"\n" for line in lines))
        output = ["--output-dir", str(room.new("out"))] if command in ("prepare", "split") else []
        return Case("corpus", f"{command}: {name}", [command, "--data-dir", str(folder), *output], expected)

    records = [json.loads(line) for line in room.lines]
    whole = [line.encode() for line in room.lines]

    def changed(change: Callable[[dict], Any]) -> list[bytes]:
        record = copy.deepcopy(
            next(record for record in records if record["visual_annotations"] and record["clusters"])
        )
        place = [record["doc_key"] for record in records].index(record["doc_key"]) if "doc_key" in record else 0
        place = next(i for i, r in enumerate(records) if r["doc_key"] == record["doc_key"])
        change(record)
        return [*whole[:place], json.dumps(record, ensure_ascii=False).encode(), *whole[place + 1 :]]

    fields = ("doc_key", "sentences", "speaker_ids", "clusters", "visual_annotations")
    values: list[Any] = [
        None,
        5,
        -1,
        1.5,
        True,
        "text",
        [],
        {},
        [[]],
        [None],
        [[None]],
        [["a"]],
        [[-1, 2]],
        [[[1]]],
        10**30,
    ]
    for name in fields:
        yield case(f"{name} missing", changed(lambda r, n=name: r.pop(n)), "refused")
        for value in values:
            refused = "either" if name in ("visual_annotations", "clusters") and value == [] else "refused"
            if name == "doc_key" and value == "text":
                refused = "refused"
            yield case(f"{name} is {value!r:.20}", changed(lambda r, n=name, v=value: r.update({n: v})), refused)
    box_values: list[Any] = [
        None,
        "x",
        [],
        [1, 2, 3],
        [5, 5, 5, 5],
        [9, 9, 1, 1],
        [-3, 0, 5, 5],
        [0, 0, 10**12, 5],
        [0.5, 1, 2, 3],
    ]
    for value in box_values:
        yield case(
            f"bbox {value!r:.24}", changed(lambda r, v=value: r["visual_annotations"][0].update(bbox=v)), "refused"
        )
    for key in ("cur_frame", "cur_frame_path", "bbox", "box_labels", "region_image_path"):
        yield case(f"box without {key}", changed(lambda r, k=key: r["visual_annotations"][0].pop(k)), "refused")
    for path in ("../../etc/passwd", "", "/", "a\0b", "..\\x.jpg"):
        spoil = changed(lambda r, p=path: r["visual_annotations"][0].update(region_image_path=p))
        yield case(f"region path {path!r}", spoil, "refused")
    for span in ([0, 10**6], [3, 1], [0], [0, 1, 2], ["0", "1"], [0.0, 1.0], [True, False]):
        yield case(f"span {span}", changed(lambda r, s=span: r["clusters"][0].__setitem__(0, s)), "refused")
    twice = changed(lambda r: r["clusters"].append(copy.deepcopy(r["clusters"][0])))
    yield case("a mention in two clusters", twice, "refused")
    raw = {
        "empty file": ([b""], "refused"),
        "a list": ([b"[1]"], "refused"),
        "a number": ([b"5"], "refused"),
        "nul bytes": ([b"\0\0\0"], "refused"),
        "gbk": (['{"doc_key": "汉字"}'.encode("gbk")], "refused"),
        "utf-16": ["{}".encode("utf-16"), "refused"],
        "truncated line": ([*whole[:-1], whole[-1][:100]], "refused"),
        "trailing comma": ([whole[0][:-1] + b",}", *whole[1:]], "refused"),
        "NaN": ([whole[0].replace(b'"sentences"', b'"x": NaN, "sentences"'), *whole[1:]], "either"),
        "half a surrogate": ([whole[0].replace(b'"genre": "', b'"genre": "\\ud800'), *whole[1:]], "refused"),
        "nested ten thousand deep": ([b"[" * 10000 + b"]" * 10000, *whole], "refused"),
        "deep inside a record": ([b'{"doc_key": ' + b"[" * 10000 + b"]" * 10000 + b"}", *whole], "refused"),
        "duplicate key": ([whole[0].replace(b"{", b'{"doc_key": "x", ', 1), *whole[1:]], "refused"),
        "the same record twice": ([*whole, whole[0]], "refused"),
        "byte order mark": ([b"\xef\xbb\xbf" + whole[0], *whole[1:]], "taken"),
        "windows line ends": ([line + b"\r" for line in whole], "taken"),
        "blank lines": ([line for pair in zip(whole, [b""] * len(whole), strict=True) for line in pair], "taken"),
        "reordered": (whole[::-1], "taken"),
        "a line separator inside a string": (
            changed(lambda r: r["sentences"][0].__setitem__(0, "\u2028")),
            "taken",
        ),
    }
    for name, (content, expected) in raw.items():
        lines = content if isinstance(content, list) else [content]
        for command in ("prepare", "stats", "split"):
            yield case(name, lines, expected, command=command)
        yield case(name, lines, "either" if expected == "refused" else expected, command="validate")
    splits = (room.corpus / "split.jsonl").read_bytes().splitlines()
    titles = (room.corpus / "video_titles.jsonl").read_bytes().splitlines()
    for file, good in (("splits", splits), ("titles", titles)):
        for name, lines, expected in (
            ("empty", [b""], "refused"),
            ("not json", [b"hello"], "refused"),
            ("a key missing", [b"{}", *good[1:]], "refused"),
            ("a number for the id", [b'{"video_id": 5}', *good[1:]], "refused"),
            ("one line twice", [good[0], *good], "refused"),
            ("one line less", good[1:], "refused" if file == "splits" else "taken"),
            (
                "unknown value",
                [good[0].replace(b'"train"', b'"training"').replace(b'"title": "', b'"title": 5, "x": "'), *good[1:]],
                "either",
            ),
            ("truncated", [*good[:-1], good[-1][:20]], "refused"),
            ("deep", [b"[" * 10000, *good], "refused"),
        ):
            yield case(f"{file} {name}", lines, expected, file=file)


# Pictures


def picture_cases(room: Room) -> Iterator[Case]:
    """Files that claim to be a head, given to `predict --region` and, as the corpus' own, to `prepare`."""
    made = room.new("pictures")
    made.mkdir()
    good = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(good, "JPEG")
    files: dict[str, tuple[bytes, str]] = {
        "empty.jpg": (b"", "refused"),
        "text.jpg": (b"hello, I am a picture", "refused"),
        "html.png": (b"<html><body>404</body></html>", "refused"),
        "svg.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "refused"),
        "header.jpg": (good.getvalue()[:20], "refused"),
        "truncated.jpg": (good.getvalue()[: len(good.getvalue()) // 2], "refused"),
        "pdf.jpg": (b"%PDF-1.4\n%%EOF", "refused"),
        "lfs.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "refused"),
        "zip.jpg": (b"PK\x05\x06" + bytes(18), "refused"),
        "bomb.png": (png_header(30000, 30000), "refused"),
        "zero.png": (png_header(0, 0), "refused"),
        "tailed.jpg": (good.getvalue() + b"<script>", "taken"),
        "good.jpg": (good.getvalue(), "taken"),
    }
    for mode, kind in (
        ("L", "png"),
        ("LA", "png"),
        ("P", "gif"),
        ("RGBA", "png"),
        ("CMYK", "jpg"),
        ("I;16", "png"),
        ("1", "png"),
        ("F", "tiff"),
    ):
        stream = io.BytesIO()
        Image.new(mode, (20, 30)).save(stream, {"jpg": "JPEG"}.get(kind, kind.upper()))
        files[f"{mode.replace(';', '')}.{kind}"] = (stream.getvalue(), "taken")
    for size in ((1, 1), (1, 4000), (4000, 1)):
        stream = io.BytesIO()
        Image.new("RGB", size).save(stream, "PNG")
        files[f"{size[0]}x{size[1]}.png"] = (stream.getvalue(), "taken")
    for name, (content, expected) in files.items():
        path = made / name
        path.write_bytes(content)
        yield Case("pictures", f"predict: {name}", predict(room, "--region", str(path)), expected, [path])
        folder = room.new("corpus")
        shutil.copytree(room.corpus, folder)
        victim = sorted((folder / "faces_all").iterdir())[0]
        victim.write_bytes(content)
        arguments = ["prepare", "--data-dir", str(folder), "--regions-dir", str(folder / "faces_all")]
        yield Case("pictures", f"prepare: {name}", [*arguments, "--output-dir", str(room.new("out"))], expected)
    special = room.new("special")
    special.mkdir()
    os.mkfifo(special / "fifo.jpg")
    (special / "loop.jpg").symlink_to(special / "loop.jpg")
    (special / "folder.jpg").mkdir()
    (special / "dangling.jpg").symlink_to(special / "nowhere")
    for path in (
        *sorted(special.iterdir()),
        Path("/dev/zero"),
        Path("/dev/null"),
        special / "missing.jpg",
        Path("http://example.org/a.jpg"),
    ):
        yield Case("pictures", f"predict: {path.name}", predict(room, "--region", str(path)), "refused")
    for name in ("fifo.jpg", "loop.jpg", "dangling.jpg", "passwd"):
        folder = room.new("corpus")
        shutil.copytree(room.corpus, folder)
        victim = sorted((folder / "faces_all").iterdir())[0]
        victim.unlink()
        if name == "fifo.jpg":
            os.mkfifo(victim)
        else:
            victim.symlink_to("/etc/passwd" if name == "passwd" else special / name)
        arguments = ["prepare", "--data-dir", str(folder), "--regions-dir", str(folder / "faces_all")]
        arguments += ["--output-dir", str(room.new("out"))]
        yield Case("pictures", f"prepare: {name}", arguments, "either" if name == "dangling.jpg" else "refused")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    import zlib

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def predict(room: Room, *arguments: str) -> list[str]:
    return ["predict", "--model", str(room.model), *arguments, "这个男生是谁", "他是我哥哥"]


def evaluate_line(room: Room, model: Path, dataset: Path) -> list[str]:
    output = ["--output-dir", str(room.new("out")), "--n-resamples", "0"]
    return ["evaluate", "--model", str(model), "--dataset", str(dataset), *output]


# Dialogues


def dialogue_cases(room: Room) -> Iterator[Case]:
    """Files of dialogues for `predict --input`; one bad line must not take the others with it."""
    good = {"sentences": ["这个男生是谁", "他是我哥哥"], "speakers": ["A", "B"]}
    values: list[Any] = [None, 5, "text", [], {}, [""], [None], [5], [[]], [[""]], [["a", None]], [[1]]]
    contents: dict[str, tuple[bytes, str]] = {}
    for value in values:
        contents[f"sentences {value!r}"] = (json.dumps({**good, "sentences": value}).encode(), "refused")
    for value in (5, "text", ["A"], ["A", "B", "C"], [None, None], [1, 2], {}):
        expected = "either" if value in ([1, 2], [None, None]) else "refused"
        contents[f"speakers {value!r}"] = (json.dumps({**good, "speakers": value}).encode(), expected)
    for value in (5, ["a"], {}):
        contents[f"title {value!r}"] = (json.dumps({**good, "title": value}).encode(), "refused")
    for value in (5, "head.png", [5], [None], ["no.png"], [{}], [[[1]]]):
        contents[f"regions {value!r}"] = (json.dumps({**good, "regions": value}).encode(), "refused")
    for value in (5, [5], [{}], [{"frame": 9, "bbox": [0, 0, 1, 1]}], [{"frame": 0, "bbox": [9, 9, 1, 1]}]):
        spoilt = {**good, "frames": [str(room.picture)], "boxes": value}
        contents[f"boxes {value!r}"] = (json.dumps(spoilt).encode(), "refused")
    contents |= {
        "unknown key": (json.dumps({**good, "sentense": []}).encode(), "refused"),
        "empty file": (b"", "refused"),
        "blank": (b"\n\n", "refused"),
        "not json": (b"hello", "refused"),
        "not utf-8": (b"\xff\xfe\x00", "refused"),
        "gbk": ('{"sentences": ["汉字"]}'.encode("gbk"), "refused"),
        "a number": (b"7", "refused"),
        "list of lists": (b"[[1]]", "refused"),
        "empty list": (b"[]", "refused"),
        "truncated": (json.dumps(good).encode()[:-9], "refused"),
        "deep": (b"[" * 100000, "refused"),
        "deep object": (b'{"a":' * 50000, "refused"),
        "duplicate keys": (b'{"sentences": ["a"], "sentences": ["b"]}', "refused"),
        "half a surrogate": (b'{"sentences": ["\\ud800"]}', "either"),
        "control characters": (json.dumps({"sentences": ["\x1b]52;c;aGk=\x07他来了"]}).encode(), "either"),
        "line separators": (json.dumps({"sentences": ["他\u2028来\u0085了"]}, ensure_ascii=False).encode(), "taken"),
        "only spaces": (json.dumps({"sentences": ["   "]}).encode(), "either"),
        "emoji": (json.dumps({"sentences": ["👨‍👩‍👧他们😀"]}).encode(), "taken"),
        "one character": (json.dumps({"sentences": ["他"]}).encode(), "taken"),
        "a hundred thousand characters": (json.dumps({"sentences": ["他来了。" * 25000]}).encode(), "either"),
        "a hundred utterances": (json.dumps({"sentences": ["他来了"] * 100}).encode(), "either"),
    }
    for name, (content, expected) in contents.items():
        path = room.new("dialogues.jsonl")
        path.write_bytes(content + b"\n")
        yield Case("dialogues", name, ["predict", "--model", str(room.model), "--input", str(path)], expected, [path])


# Models


def model_cases(room: Room) -> Iterator[Case]:
    """Damaged model folders, given to `predict`, `evaluate` and `push --dry-run`."""

    def damaged(name: str, change: Callable[[Path], Any], expected: str = "refused") -> Iterator[Case]:
        for command in ("predict", "evaluate", "push"):
            folder = room.new("model")
            shutil.copytree(room.model, folder)
            change(folder)
            arguments = {
                "predict": ["predict", "--model", str(folder), "他来了", "是他"],
                "evaluate": evaluate_line(room, folder, room.dataset),
                "push": ["push", "model", "--namespace", "somebody", "--model", str(folder), "--dry-run"],
            }[command]
            yield Case("models", f"{command}: {name}", arguments, expected)

    def config(**fields: Any) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            content = json.loads((folder / "config.json").read_text())
            for name, value in fields.items():
                below = content
                *above, last = name.split("__")
                for key in above:
                    below = below[key]
                below[last] = value
            (folder / "config.json").write_text(json.dumps(content))

        return change

    def weights(change: Callable[[dict], Any]) -> Callable[[Path], None]:
        def rewrite(folder: Path) -> None:
            from safetensors.torch import load_file, save_file

            tensors = load_file(folder / "model.safetensors")
            change(tensors)
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

        return rewrite

    def first(tensors: dict) -> str:
        return next(name for name in sorted(tensors) if tensors[name].ndim == 2)

    def write(name: str, content: bytes) -> Callable[[Path], Any]:
        return lambda folder: (folder / name).write_bytes(content)

    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"
    yield from damaged("weights truncated", lambda f: os.truncate(f / "model.safetensors", 5000))
    yield from damaged("weights empty", lambda f: os.truncate(f / "model.safetensors", 0))
    yield from damaged("weights a pointer", write("model.safetensors", pointer))
    yield from damaged("weights a page", write("model.safetensors", b"<html>404</html>"))
    yield from damaged("header beyond the file", write("model.safetensors", struct.pack("<Q", 2**60) + b"{}"))
    yield from damaged("no weights", lambda f: (f / "model.safetensors").unlink())
    yield from damaged("weights as a pickle", lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"))
    yield from damaged("one weight missing", weights(lambda t: t.pop(first(t))))
    yield from damaged(
        "one weight of another shape", weights(lambda t: t.update({first(t): t[first(t)][:, :-1].clone()}))
    )
    yield from damaged("NaN in a weight", weights(lambda t: t[first(t)].fill_(float("nan"))))
    yield from damaged("infinity in a weight", weights(lambda t: t[first(t)].view(-1)[:1].fill_(float("inf"))))
    yield from damaged("no config", lambda f: (f / "config.json").unlink())
    yield from damaged("config empty", write("config.json", b""))
    yield from damaged("config a list", write("config.json", b"[]"))
    yield from damaged("config not json", write("config.json", b"{"))
    yield from damaged("config of another model", config(model_type="bert"))
    for name, value in (
        ("text_config__num_hidden_layers", -1),
        ("text_config__num_hidden_layers", "two"),
        ("text_config__num_hidden_layers", 10**9),
        ("text_config__hidden_size", 10**9),
        ("text_config__hidden_size", 0),
        ("text_config__vocab_size", 10**12),
        ("text_config", None),
        ("text_config", 5),
        ("vision_config", "vit"),
        ("window_size", -5),
        ("mention_threshold", "high"),
        ("max_mention_length", 10**12),
        ("projection_dim", 0),
        ("antecedent_top_k", -3),
    ):
        yield from damaged(f"{name} = {value!r}", config(**{name: value}))
    tokenizer_files = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")

    def without_tokenizer(folder: Path) -> None:
        for name in tokenizer_files:
            (folder / name).unlink(missing_ok=True)

    yield from damaged("no tokenizer", without_tokenizer)
    yield from damaged("tokenizer empty", write("tokenizer.json", b""))
    yield from damaged("tokenizer not json", write("tokenizer.json", b"{{"))
    yield from damaged("no processor", lambda f: (f / "processor_config.json").unlink())
    yield from damaged("processor not json", write("processor_config.json", b"nope"))
    yield from damaged("processor of wrong types", write("processor_config.json", b'{"window_size": "many"}'))
    yield from damaged("a file more", write("notes.md", b"hello"), "either")
    broken = b"this is no python ("
    for case in damaged("a syntax error in its code", write("modeling_tiktalkcoref.py", broken), "either"):
        yield Case(case.kind, case.name, case.arguments, "refused" if case.arguments[0] == "push" else "either")
    yield from (
        Case("models", f"predict: model {name!r}", ["predict", "--model", name, "他来了"], "refused")
        for name in ("", "nowhere", "no/such", "/dev/null", str(room.picture), "https://example.org/m", "a b", "../..")
    )


# Recipes, datasets, options, scores


def recipe_cases(room: Room) -> Iterator[Case]:
    """Recipes and overrides for `train`; none of them may start to train."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    texts = {
        "empty": "",
        "a list": "- 1",
        "a number": "5",
        "not yaml": "a: [",
        "tabs": "a:\n\t- b",
        "no initial": "dataset: sample",
        "unknown field": "initial: {text_encoder: {hidden_size: 32}}\nepoch: 3",
        "a misspelt section": "initial: {text_encoder: {hidden_size: 32}}\nlop: {epochs: 3}",
        "wrong type": "initial: {text_encoder: {hidden_size: 32}}\nloop: {epochs: many}",
        "negative": "initial: {text_encoder: {hidden_size: 32}}\nloop: {epochs: -3}",
        "two starts": "initial: {text_encoder: x, checkpoint: y}",
        "alias bomb": bomb + "initial: {text_encoder: {hidden_size: 32}}",
        "python tag": "!!python/object/apply:os.system ['echo hi']",
        "recursive": "initial: &x {text_encoder: *x}",
        "infinity": "initial: {text_encoder: {hidden_size: 32}}\noptimizer: {learning_rate: .inf}",
        "nan": "initial: {text_encoder: {hidden_size: 32}}\noptimizer: {learning_rate: .nan}",
        "unknown encoder field": "initial: {text_encoder: {hiden_size: 32}}",
        "encoder sizes that do not divide": "initial: {text_encoder: {hidden_size: 33, num_attention_heads: 2}}",
        "duplicate field": "seed: 1\nseed: 2\ninitial: {text_encoder: {hidden_size: 32}}",
    }
    for name, text in texts.items():
        path = room.new("recipe.yaml")
        path.write_text(text)
        arguments = ["train", str(path), "--dataset", str(room.dataset), "--output", str(room.new("run")), "--quiet"]
        expected = "either" if name in ("duplicate field", "unknown encoder field") else "refused"
        yield Case("recipes", name, [*arguments, "--set", "loop.max_steps=1"], expected, [path])
    overrides = (
        "loop.batch_size=0", "loop.batch_size=-1", "loop.batch_size=x", "loop.epochs=0", "loop.epochs=1e99", "loop=5",
        "loop.mixed_precision=fp7", "optimizer.learning_rate=-1", "seed=-1", "seed=1e30", "fold=6/5", "fold=x",
        "fold=1/1", "train_config=some", "loop.select_on=[]", "loop.select_on=[nothing]", "loop.trackers=[nothing]",
        "nothing=1", "=1", "loop.batch_size", "model.nothing=1", "model.text_config={}", "loop.ema_decay=2",
        "loop.hide_characters=1",
        "initial.text_encoder=nowhere", "initial.text_encoder=./nowhere", "initial.text_encoder=no/such",
        "initial.vision_encoder=vit_nothing", "final_evaluations=[x]", "dataset=", "model.mention_threshold=7",
    )  # fmt: skip
    for text in overrides:
        arguments = ["train", "sample", "--dataset", str(room.dataset), "--output", str(room.new("run")), "--quiet"]
        yield Case("recipes", f"--set {text}", [*arguments, "--set", text], "refused")
    for name in ("smaple", "", "nowhere.yaml", "/dev/null", str(room.folder), str(room.picture)):
        yield Case("recipes", f"train {name!r}", ["train", name, "--output", str(room.new("run"))], "refused")


def dataset_cases(room: Room) -> Iterator[Case]:
    """Damaged dataset folders for `evaluate` and `push dataset --dry-run`."""

    def damage(name: str, change: Callable[[Path], Any], expected: str = "refused") -> Iterator[Case]:
        folder = room.new("dataset")
        shutil.copytree(room.dataset, folder)
        change(folder)
        yield Case("datasets", f"evaluate: {name}", evaluate_line(room, room.model, folder), expected)
        push = ["push", "dataset", "--namespace", "somebody", "--dataset", str(folder), "--dry-run"]
        yield Case("datasets", f"push: {name}", push, expected)

    def tests(folder: Path) -> list[Path]:
        return [
            path for path in folder.rglob("*.parquet") if path.name.startswith("test") and path.parent.name == "all"
        ]

    yield from damage("a table truncated", lambda f: [os.truncate(path, 100) for path in tests(f)])
    yield from damage("a table empty", lambda f: [os.truncate(path, 0) for path in tests(f)])
    yield from damage("a table is text", lambda f: [path.write_text("hello") for path in tests(f)])
    yield from damage("a table missing", lambda f: [path.unlink() for path in tests(f)])
    yield from damage("no table", lambda f: [path.unlink() for path in f.rglob("*.parquet")])
    yield from damage("an empty folder", lambda f: (shutil.rmtree(f), f.mkdir()))
    yield from damage("no folder", shutil.rmtree)
    for name in ("", "nowhere", "no/such", "/dev/null", str(room.picture), str(room.annotations), "sampel"):
        arguments = ["evaluate", "--model", str(room.model), "--dataset", name, "--output-dir", str(room.new("out"))]
        yield Case("datasets", f"evaluate: dataset {name!r:.30}", arguments, "refused")


def option_cases(room: Room) -> Iterator[Case]:
    """Options out of range, folders that are somebody else's, files over inputs."""
    mine = room.new("mine")
    mine.mkdir()
    (mine / "README.md").write_text("my own notes")
    (mine / "scores.json").write_text("{}")
    kept = [mine / "README.md", mine / "scores.json"]
    model, dataset, corpus, out = str(room.model), str(room.dataset), str(room.corpus), str(room.new("out"))
    evaluate = ["evaluate", "--model", model, "--dataset", dataset]
    gold = room.new("gold.jsonl")
    gold.write_text(json.dumps({"doc_key": "1", "clusters": [[[0, 1]]]}) + "\n")
    lines = [
        ["prepare", "--data-dir", corpus, "--output-dir", str(mine)],
        ["split", "--data-dir", corpus, "--output-dir", str(mine)],
        ["sample", "--output", str(mine), "--dialogues", "12"],
        ["sample", "--output", out, "--dialogues", "0"],
        ["sample", "--output", out, "--dialogues", "-5"],
        ["sample", "--output", str(room.picture)],
        ["sample", "--output", "/proc/nothing"],
        ["sample", "--output", "/dev/null/x"],
        [*evaluate, "--output-dir", str(mine)],
        [*evaluate, "--output-dir", out, "--batch-size", "0"],
        [*evaluate, "--output-dir", out, "--batch-size", "-1"],
        [*evaluate, "--output-dir", out, "--n-resamples", "-1"],
        [*evaluate, "--output-dir", out, "--confidence-level", "2"],
        [*evaluate, "--output-dir", out, "--split", "tset"],
        [*evaluate, "--output-dir", out, "--config", "some"],
        [*evaluate, "--output-dir", out, "--fold", "9/3"],
        [*evaluate, "--output-dir", str(room.picture)],
        [*evaluate],
        ["predict", "--model", model],
        ["predict", "--model", model, "--input", str(room.new("missing"))],
        ["predict", "--model", model, "--input", str(room.folder)],
        ["predict", "--model", model, "--input", str(gold), "--output", str(gold)],
        ["predict", "--model", model, "--batch-size", "0", "他来了"],
        ["predict", "--model", model, "--speaker", "A", "他来了", "是他"],
        ["predict", "--model", model, ""],
        ["predict"],
        ["nothing"],
        ["score", "--gold", str(gold), "--predicted", str(gold), "--output", str(gold)],
        ["score", "--gold", str(gold), "--predicted", str(gold), "--k", "0"],
        ["score", "--gold", str(gold), "--predicted", str(gold), "--iou-threshold", "7"],
        ["score", "--gold", str(gold), "--predicted", str(gold), "--n-resamples", "-2"],
        ["score", "--gold", str(gold), "--predicted", str(room.new("missing"))],
        ["score", "--gold", str(gold), "--predicted", str(room.folder)],
        ["score", "--gold", str(gold), "--predicted", str(room.picture)],
        ["export", "conll", "--data-dir", corpus, "--output-dir", str(mine)],
        ["export", "cnll", "--data-dir", corpus, "--output-dir", out],
        ["export", "chinese-clip", "--data-dir", corpus, "--output-dir", out],
        ["show", "nobody", "--data-dir", corpus],
        ["show", "--data-dir", str(room.new("missing"))],
        ["stats", "--data-dir", str(mine)],
        ["validate", "--data-dir", corpus, "--frames-dir", str(room.new("missing"))],
        ["validate", "--data-dir", corpus, "--annotations", str(room.new("missing"))],
        ["train", "sample", "--dataset", dataset, "--output", str(room.picture)],
        ["train", "sample", "--dataset", dataset, "--output", str(room.new("run")), "--resume"],
        ["push", "dataset", "--namespace", "some body", "--dataset", dataset, "--dry-run"],
        ["push", "dataset", "--namespace", "", "--dataset", dataset, "--dry-run"],
        ["push", "nothing", "--namespace", "somebody", "--dry-run"],
        ["push", "dataset", "--namespace", "somebody", "--dataset", dataset, "--dry-run", "--build-dir", str(mine)],
        ["push", "dataset", "--namespace", "somebody", "--dataset", dataset, "--dry-run", "--name", "a/b"],
    ]
    for arguments in lines:
        shown = " ".join(argument.replace(str(room.folder), "") for argument in arguments)
        beside = (
            arguments[:2] == ["export", "conll"] or "--build-dir" in arguments
        )  # a folder of its own inside is made
        expected = "either" if beside else "refused"
        yield Case("options", shown, arguments, expected, [*kept, gold])


def score_cases(room: Room) -> Iterator[Case]:
    """Predictions for `score`."""
    gold = room.new("gold.jsonl")
    gold.write_text(json.dumps({"doc_key": "1", "clusters": [[[0, 1], [4, 4]]], "links": [0], "regions": 2}) + "\n")
    values: list[Any] = [
        None,
        5,
        "x",
        {},
        [[]],
        [[[1]]],
        [[[1, 0]]],
        [[[-1, 0]]],
        [[["a", "b"]]],
        [[[0, 1]], [[0, 1]]],
        [[[0.5, 1]]],
    ]
    contents = {f"clusters {value!r}": json.dumps({"doc_key": "1", "clusters": value}).encode() for value in values}
    contents |= {
        "no clusters": b'{"doc_key": "1"}',
        "empty": b"",
        "another document": b'{"doc_key": "2", "clusters": []}',
        "two of one document": b'{"doc_key": "1", "clusters": []}\n{"doc_key": "1", "clusters": []}',
        "not json": b"{",
        "deep": b"[" * 50000,
        "not utf-8": b"\xff",
        "duplicate keys": b'{"doc_key": "1", "clusters": [], "clusters": []}',
        "half a conll file": b"#begin document (1); part 000\n1 0 0 a (0",
        "conll brackets open": b"#begin document (1); part 000\n1\t0\t0\ta\t(0\n\n#end document\n",
        "rankings out of range": b'{"doc_key": "1", "clusters": [[[0, 1]]], "rankings": [[7]]}',
    }
    for name, content in contents.items():
        path = room.new("predicted.jsonl")
        path.write_bytes(content + b"\n")
        yield Case("scores", name, ["score", "--gold", str(gold), "--predicted", str(path)], "refused", [path, gold])


KINDS = {
    "corpus": corpus_cases,
    "pictures": picture_cases,
    "dialogues": dialogue_cases,
    "models": model_cases,
    "recipes": recipe_cases,
    "datasets": dataset_cases,
    "options": option_cases,
    "scores": score_cases,
}

if __name__ == "__main__":
    main()
