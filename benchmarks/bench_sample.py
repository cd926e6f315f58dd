"""The sample recipe over three seeds, against chance: does the model read and look, or is there a short cut?

    python benchmarks/bench_sample.py [--seeds 0 1 2] [--retrain] [--set field=value]

For each seed the recipe `sample` is trained and scored on the test split, whose persons it has never seen: as it is,
with pictures shuffled between dialogues, and with the attribute words masked. `--retrain` also trains on the shuffled
and on the masked corpus: what could be learned without reading and looking would show there.
"""

import argparse
import itertools
import json
import random
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.evaluation.dialogues import SAMPLE_DIALOGUES, load_dialogues
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.evaluation.predictions import evaluate_model
from tiktalkcoref.sample import write_sample
from tiktalkcoref.sample.language import attribute_words
from tiktalkcoref.training.recipe import load_recipe
from tiktalkcoref.training.train import train

KEYS = {
    "conll_f1": "CoNLL F1",
    "linking_recall_at_1": "R@1",
    "linking_chance_at_1": "chance",
    "linking_mean_pool": "pool",
}
MASK = "某"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dialogues", type=int, default=SAMPLE_DIALOGUES)
    parser.add_argument("--retrain", action="store_true")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plain = write_sample(folder / "plain", dialogues=arguments.dialogues)
        corpora = {"as it is": plain}
        corpora["pictures shuffled"] = shuffle_pictures(plain, folder / "shuffled")
        corpora["attributes masked"] = mask_attributes(plain, folder / "masked")
        rows: list[dict[str, Any]] = []
        for seed in arguments.seeds:
            trained_on = corpora if arguments.retrain else {"as it is": plain}
            for name, corpus in trained_on.items():
                run = folder / f"run-{seed}-{name}"
                recipe = load_recipe("sample", [f"dataset={corpus}", f"seed={seed}", *arguments.overrides])
                summary = train(recipe, run)
                tests = corpora if name == "as it is" else {name: corpus}
                rows += measure(run, tests, {"seed": seed, "trained": name, "seconds": summary["wall_seconds"]})
    report(rows)


def measure(run: Path, corpora: dict[str, Path], about: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The scores of a run's model on the test split of each corpus."""
    model, processor = load_model(run)
    for name, corpus in corpora.items():
        scores = evaluate_model(model, processor, load_dialogues(str(corpus), "all", "test"))
        yield about | {"tested": name} | {key: scores[key] for key in KEYS}


def shuffle_pictures(corpus: Path, output: Path) -> Path:
    """The corpus with the region pictures of each dialogue replaced by those of another with as many, in order."""
    shutil.copytree(corpus, output)
    groups: dict[tuple, list[list[Path]]] = defaultdict(list)
    splits = {entry["video_id"]: entry["split"] for entry in _lines(corpus / "split.jsonl")}
    for record in _lines(find_files(corpus).annotations):
        names = [Path(box["region_image_path"]).name for box in record["visual_annotations"]]
        if names:
            groups[splits[record["doc_key"]], len(names)].append([corpus / "faces_all" / name for name in names])
    for dialogues in groups.values():
        random.Random(0).shuffle(dialogues)
        for pictures, others in zip(dialogues, itertools.islice(itertools.cycle(dialogues), 1, None), strict=False):
            for picture, other in zip(pictures, others, strict=True):
                shutil.copyfile(other, output / "faces_all" / picture.name)
    return output


def mask_attributes(corpus: Path, output: Path) -> Path:
    """The corpus with every wording of a visible attribute replaced by a mask of its length."""
    shutil.copytree(corpus, output)
    path = find_files(output).annotations
    words = attribute_words()
    records = []
    for record in _lines(path):
        sentences = ["".join(sentence) for sentence in record["sentences"]]
        for word in words:
            sentences = [sentence.replace(word, MASK * len(word)) for sentence in sentences]
        text = "".join(sentences)
        record["sentences"] = [list(sentence) for sentence in sentences]
        record["clusters_str"] = [[text[first : last + 1] for first, last in c] for c in record["clusters"]]
        records.append(json.dumps(record, ensure_ascii=False) + "\n")
    path.write_text("".join(records), encoding="utf-8")
    return output


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def report(rows: list[dict[str, Any]]) -> None:
    """One row a seed, means over seeds, and whether the sample is solved by reading and looking alone."""
    table = Table("trained on", "tested on", "seed", *KEYS.values(), "training, s", title="Sample, test split")
    means: dict[tuple[str, str], dict[str, float]] = {}
    for (trained, tested), group in itertools.groupby(
        sorted(rows, key=lambda row: (row["trained"], row["tested"])), key=lambda row: (row["trained"], row["tested"])
    ):
        found = list(group)
        for row in found:
            table.add_row(trained, tested, str(row["seed"]), *(f"{row[k]:.3f}" for k in KEYS), f"{row['seconds']:.0f}")
        means[trained, tested] = {key: statistics.mean(row[key] for row in found) for key in KEYS}
        table.add_row(trained, tested, "mean", *(f"{means[trained, tested][key]:.3f}" for key in KEYS), style="bold")
    Console(width=120).print(table)
    solved = means["as it is", "as it is"]
    excess = max(
        m["linking_recall_at_1"] - m["linking_chance_at_1"] for (_, name), m in means.items() if name != "as it is"
    )
    print(f"conll_f1 {solved['conll_f1']:.3f} (wanted: 0.95), R@1 {solved['linking_recall_at_1']:.3f} (wanted: 0.85)")
    print(f"R@1 over chance without pictures or attributes: at most {excess:+.3f} (wanted: within 0.1 of it)")
    sys.exit(not (solved["conll_f1"] >= 0.95 and solved["linking_recall_at_1"] >= 0.85 and excess < 0.1))


if __name__ == "__main__":
    main()
