"""At which probabilities a mention and a link are taken: scores over the validation parts of the folds.

    python benchmarks/sweep_thresholds.py --runs runs/train-{fold} --dataset FOLDER [--output FILE]

`{fold}` stands for the number; the runs are of `tiktalkcoref train` with that `fold` and `train_split=train`, so that
their validation parts were neither learned nor are they the parts that `compare_folds.py` tests on.
"""

import argparse
from pathlib import Path

from compare_folds import FOLDS, KEYS
from record import record
from rich.console import Console
from rich.table import Table

from tiktalkcoref.evaluation.dialogues import load_dialogues
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.evaluation.predictions import predict_dialogues, score_predictions
from tiktalkcoref.files.progress import track
from tiktalkcoref.training.recipe import load_recipe
from tiktalkcoref.training.run_folder import RECIPE

MENTIONS = (0.4, 0.5, 0.6)
LINKS = (0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, help="such as runs/train-{fold}")
    parser.add_argument("--dataset", required=True, help="a prepared folder, upstream's files, or a Hub id")
    parser.add_argument("--output", type=Path, help="also write the figures here, as JSON")
    arguments = parser.parse_args()
    places = [arguments.runs.format(fold=fold) for fold in range(1, FOLDS + 1)]
    for place in places:
        if load_recipe(Path(place) / RECIPE).train_split != "train":
            parser.error(f"{place} learned its validation part: train it with --set train_split=train")
    models = [load_model(place) for place in places]
    parts = [load_dialogues(arguments.dataset, "all", "validation", f"{fold}/{FOLDS}") for fold in range(1, FOLDS + 1)]
    dialogues = [dialogue for part in parts for dialogue in part]
    distinct = len({dialogue["doc_key"] for dialogue in dialogues})  # the folds' validation parts overlap
    rows = []
    for mention, link in track([(mention, link) for mention in MENTIONS for link in LINKS], "scoring"):
        found = []
        for (model, processor), part in zip(models, parts, strict=True):
            model.config.mention_threshold, model.config.antecedent_threshold = mention, link
            found += predict_dialogues(model, processor, part)
        scores = score_predictions(found, dialogues)
        rows.append({"mention": mention, "link": link} | {key: scores[key] for key in KEYS})
    if arguments.output:
        figures = {"readings": len(dialogues), "dialogues": distinct, "thresholds": rows}
        record(arguments.output, "Thresholds, over the validation parts of five folds", figures, [1])
    table = Table(
        "mention",
        "link",
        *(key.removesuffix("_f1") for key in KEYS),
        title=f"{len(dialogues)} readings of {distinct} dialogues",
    )
    for row in rows:
        table.add_row(str(row["mention"]), str(row["link"]), *(f"{100 * row[key]:.1f}" for key in KEYS))
    Console().print(table)


if __name__ == "__main__":
    main()
