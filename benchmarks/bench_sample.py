"""The sample recipe over three seeds, against chance and rules: does the model read and look, or is there a short cut?

    python benchmarks/bench_sample.py [--seeds 0 1 2] [--retrain] [--set field=value] [--runs FOLDER] [--output FILE]

For each seed the recipe `sample` is trained and scored on the test split, whose persons it has never seen: as it is,
with the mentions given, with pictures shuffled between dialogues, and with the attribute words masked. `--retrain` also
trains on the shuffled and on the masked corpus: what could be learned without reading and looking would show there.
With `--runs`, corpora and runs are kept, and a later call goes on.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from record import record as write_record
from rich.console import Console
from rich.table import Table

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.evaluate_metric import Scores
from tiktalkcoref.evaluate_metric.resampling import bootstrap
from tiktalkcoref.evaluation.baselines import RULES
from tiktalkcoref.evaluation.dialogues import SAMPLE_DIALOGUES, load_dialogues, without_pictures
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.evaluation.predictions import evaluate_model, predict_dialogues, score_predictions
from tiktalkcoref.sample import write_sample
from tiktalkcoref.sample.language import attribute_words
from tiktalkcoref.training.recipe import load_recipe
from tiktalkcoref.training.run_folder import holds_run
from tiktalkcoref.training.train import train

KEYS = {
    "conll_f1": "CoNLL F1",
    "mention_f1": "mention F1",
    "linking_recall_at_1": "R@1",
    "linking_chance_at_1": "chance",
    "linking_mean_pool": "pool",
}
PLAIN, SHUFFLED, MASKED, GIVEN = "as it is", "pictures shuffled", "attributes masked", "mentions given"
MASK = "某"
RESAMPLES = 1000
Scored = dict[tuple[str, str], list[Scores]]
"""(trained on, tested on) -> the scores of each seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dialogues", type=int, default=SAMPLE_DIALOGUES)
    parser.add_argument("--retrain", action="store_true")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--runs", type=Path, help="keeps corpora and runs here")
    parser.add_argument("--output", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    scored: Scored = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.runs or Path(temporary)
        corpora = make_corpora(folder, arguments.dialogues)
        scored |= score_rules(corpora[PLAIN])
        for number, seed in enumerate(arguments.seeds, start=1):
            for name, corpus in corpora.items() if arguments.retrain else [(PLAIN, corpora[PLAIN])]:
                run = folder / f"run-{seed}-{name.replace(' ', '-')}"
                recipe = load_recipe("sample", [f"dataset={corpus}", f"seed={seed}", *arguments.overrides])
                train(recipe, run, resume=holds_run(run))
                for tested, scores in measure(run, corpora if name == PLAIN else {name: corpus}).items():
                    scored[name, tested].append(scores)
            if arguments.output:  # after each seed: nothing is lost where the next is stopped
                figures = {" / ".join(place): estimates(found) for place, found in scored.items()}
                what = "The synthetic sample, test split: trained on / tested on"
                write_record(arguments.output, what, figures, arguments.seeds[:number])
    report(scored)


def make_corpora(folder: Path, dialogues: int) -> dict[str, Path]:
    """The sample, and what it is without its pictures and without its descriptions, by name."""
    plain, shuffled, masked = (folder / name for name in ("plain", "shuffled", "masked"))
    if not plain.is_dir():
        write_sample(plain, dialogues=dialogues)
    for altered, alter in ((shuffled, shuffle_pictures), (masked, mask_attributes)):
        if not altered.is_dir():
            alter(plain, altered)
    return {PLAIN: plain, SHUFFLED: shuffled, MASKED: masked}


def score_rules(corpus: Path) -> Scored:
    """What each rule that learns nothing makes of the given mentions."""
    dialogues = load_dialogues(str(corpus), "all", "test")
    given = [sorted(list(span) for cluster in dialogue["clusters"] for span in cluster) for dialogue in dialogues]
    scored = {}
    for name, rule in RULES.items():
        clusters = [rule(dialogue, spans) for dialogue, spans in zip(dialogues, given, strict=True)]
        found = [{"clusters": one, "gold_region_scores": []} for one in clusters]
        scored[f"rule: {name}", GIVEN] = [score_predictions(found, dialogues)]
    return scored


def measure(run: Path, corpora: dict[str, Path]) -> dict[str, Scores]:
    """The scores of a run's model on the test split of each corpus, and of its clustering of given mentions."""
    model, processor = load_model(run)
    splits = {name: load_dialogues(str(corpus), "all", "test") for name, corpus in corpora.items()}
    scored = {name: evaluate_model(model, processor, dialogues) for name, dialogues in splits.items()}
    dialogues = next(iter(splits.values()))
    found = predict_dialogues(model, processor, without_pictures(dialogues), in_full=True)
    given = [{"clusters": prediction["gold_mention_clusters"], "gold_region_scores": []} for prediction in found]
    return scored | {GIVEN: score_predictions(given, dialogues)}


def estimates(seeds: Sequence[Scores]) -> dict[str, Any]:
    """Means over seeds with the 95% interval of this mean over resamples of the dialogues, by key."""
    found: dict[str, Any] = {"dialogues": len(seeds[0].statistics[0].counts)}
    found |= {"links": seeds[0]["linking_n"]} if "linking_n" in seeds[0] else {}
    for number in range(len(seeds[0].statistics)):
        drawn = [scores.statistics[number] for scores in seeds]
        drawn = [part.scores(bootstrap(part.counts, RESAMPLES, seed=0)) for part in drawn]
        for key in KEYS.keys() & drawn[0].keys():
            values = [scores[key] for scores in seeds]
            low, high = np.percentile(np.mean([draw[key] for draw in drawn], axis=0), [2.5, 97.5])
            found[key] = {"mean": statistics.mean(values), "low": low, "high": high, "values": values}
    return found


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


def report(scored: Scored) -> None:
    """One row a seed, means over seeds, and whether the sample is solved by reading and looking alone."""
    table = Table("trained on", "tested on", "", *KEYS.values(), title="Sample, test split")
    for (trained, tested), seeds in scored.items():
        for scores in seeds if len(seeds) > 1 else ():
            table.add_row(trained, tested, "", *(f"{scores[key]:.3f}" if key in scores else "" for key in KEYS))
        table.add_row(trained, tested, "mean", *(f"{_mean(seeds, key):.3f}" if key in seeds[0] else "" for key in KEYS))
    Console(width=130).print(table)
    solved, rules = scored[PLAIN, PLAIN], [seeds for (name, _), seeds in scored.items() if name.startswith("rule")]
    conll, recall = _mean(solved, "conll_f1"), _mean(solved, "linking_recall_at_1")
    learned, rule = _mean(scored[PLAIN, GIVEN], "conll_f1"), max(_mean(seeds, "conll_f1") for seeds in rules)
    excess = max(
        _mean(seeds, "linking_recall_at_1") - _mean(seeds, "linking_chance_at_1")
        for (_, tested), seeds in scored.items()
        if tested in (SHUFFLED, MASKED)
    )
    print(f"CoNLL F1 {conll:.3f} (wanted: 0.93), R@1 {recall:.3f} (wanted: 0.85)")
    print(f"CoNLL F1 of given mentions {learned:.3f} (wanted: below 0.99, above the best rule's {rule:.3f})")
    print(f"R@1 over chance without pictures or attributes: at most {excess:+.3f} (wanted: within 0.1 of it)")
    sys.exit(not (conll >= 0.93 and recall >= 0.85 and rule < learned < 0.99 and excess < 0.1))


def _mean(seeds: Sequence[Scores], key: str) -> float:
    return statistics.mean(scores[key] for scores in seeds)


if __name__ == "__main__":
    main()
