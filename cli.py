"""The console script `tiktalkcoref`: one command each for what the rooms can do.

Every command imports its room when it runs, so that `--help` answers at once. Errors that a user can mend
(`ValueError`, `OSError`) are printed as one message and end with exit code 1; `--debug` shows the traceback.
"""

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from tiktalkcoref.corpus.files import CorpusFiles

app = typer.Typer(
    name="tiktalkcoref",
    help="Multimodal coreference for Chinese video comments: data, training, evaluation, Hub.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.callback()
def _root(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    """Options before the command hold for every command."""


@app.command()
def sample(
    output: Annotated[Path, typer.Option(help="Folder to write: annotation files, frames and faces_all.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    dialogues: Annotated[int, typer.Option(help="How many dialogues; at least 12.")] = 2000,
) -> None:
    """Write the embedded sample: a synthetic corpus with pictures, in upstream's own file format."""
    from tiktalkcoref.sample import write_sample

    typer.echo(f"wrote {dialogues} dialogues to {write_sample(output, seed=seed, dialogues=dialogues)}")


# Options of the commands that read the corpus. Without any, the files are downloaded from the upstream repository.
DataDir = Annotated[Path | None, typer.Option(help="Folder with the corpus files, found by their upstream names.")]
Annotations = Annotated[Path | None, typer.Option(help="The annotation file, instead of the one in --data-dir.")]
Splits = Annotated[Path | None, typer.Option(help="The split file, likewise.")]
Titles = Annotated[Path | None, typer.Option(help="The file of video titles, likewise.")]
FramesDir = Annotated[Path | None, typer.Option(help="The authors' folder of frames, `frames`.")]
RegionsDir = Annotated[Path | None, typer.Option(help="The authors' folder of cut-out heads, `faces_all`.")]


class CorpusPart(str, Enum):
    """Which dialogues."""

    all = "all"
    celeb = "celeb"
    no_celeb = "no_celeb"


class ExportFormat(str, Enum):
    """Formats that `export` writes."""

    conll = "conll"
    jsonlines = "jsonlines"
    chinese_clip = "chinese-clip"


def _corpus_files(
    data_dir: Path | None, annotations: Path | None, splits: Path | None, titles: Path | None
) -> "CorpusFiles":
    from tiktalkcoref.corpus.files import download_files, find_files

    if data_dir is None and annotations is None and splits is None and titles is None:
        return download_files()
    return find_files(data_dir, annotations=annotations, splits=splits, titles=titles)


@app.command()
def prepare(
    data_dir: DataDir = None,
    annotations: Annotations = None,
    splits: Splits = None,
    titles: Titles = None,
    frames_dir: FramesDir = None,
    regions_dir: RegionsDir = None,
    output_dir: Annotated[Path, typer.Option(help="Folder to write.")] = Path("tiktalkcoref"),
    check_pictures: Annotated[bool, typer.Option(help="Open and decode each picture before it is embedded.")] = True,
) -> None:
    """Write the Hub-ready folder: Parquet and a dataset card. Pictures are embedded when their folders are named.

    Beside it, `load_dataset("tiktalkcoref", "celeb")` works, offline and without running code.
    """
    from tiktalkcoref.hub.prepare import prepare, survey

    files = _corpus_files(data_dir, annotations, splits, titles)
    facts = survey(files, frames_dir, regions_dir, check_pictures)
    folder = prepare(files, output_dir, frames_dir, regions_dir, facts=facts)
    dialogues = facts["counts"]["all", "all"].dialogues
    typer.echo(f"wrote {dialogues} dialogues in five configs to {folder}")
    for kind, named in (("frame", frames_dir), ("region", regions_dir)):
        if named is not None:
            found = facts["pictures"][kind]
            typer.echo(f"{kind} pictures: {found['found']} embedded, {found['missing']} missing in {named}")
    if facts["warnings"]:
        typer.echo(f"{sum(facts['warnings'].values())} warnings; `tiktalkcoref validate` lists them")


@app.command()
def split(
    output_dir: Annotated[Path, typer.Option(help="Folder to write.")],
    data_dir: DataDir = None,
    annotations: Annotations = None,
    splits: Splits = None,
    titles: Titles = None,
) -> None:
    """Write upstream's own layout: `all.textual.jsonl`, `all/train.textual.jsonl`, `celeb/...`: twenty files."""
    from tiktalkcoref.corpus.split import split

    counts = split(_corpus_files(data_dir, annotations, splits, titles), output_dir)
    typer.echo(f"wrote {len(counts)} files of {counts['all.textual.jsonl']} dialogues to {output_dir}")


@app.command()
def stats(
    data_dir: DataDir = None,
    annotations: Annotations = None,
    splits: Splits = None,
    titles: Titles = None,
    videos_dir: Annotated[Path | None, typer.Option(help="Folder of <doc_key>.mp4, to measure durations.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Folder for statistics.json and the PNG figures.")] = None,
) -> None:
    """Print the figures of the corpus, measured, beside the published ones; with --output-dir draw them too."""
    from tiktalkcoref.corpus.reading import read_corpus
    from tiktalkcoref.corpus.statistics import measure, statistics_table, write_statistics
    from tiktalkcoref.files.progress import track

    files = _corpus_files(data_dir, annotations, splits, titles)
    counts = measure(track(read_corpus(files), "counting"), videos_dir)
    Console().print(statistics_table(counts))
    if output_dir is not None:
        typer.echo(f"wrote statistics.json and figures to {write_statistics(counts, output_dir)}")


@app.command()
def validate(
    data_dir: DataDir = None,
    annotations: Annotations = None,
    splits: Splits = None,
    titles: Titles = None,
    frames_dir: FramesDir = None,
    regions_dir: RegionsDir = None,
    require_images: Annotated[bool, typer.Option("--require-images", help="A missing picture is an error.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings too.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="One line a problem, as compilers print them.")] = False,
) -> None:
    """List every problem of the corpus files. Exit code 1 if there are errors."""
    from tiktalkcoref.corpus.reading import find_problems
    from tiktalkcoref.corpus.validation import problem_line, problem_tables, summary
    from tiktalkcoref.files.progress import track

    files = _corpus_files(data_dir, annotations, splits, titles)
    pictures = {"frames_dir": frames_dir, "regions_dir": regions_dir, "require_images": require_images}
    problems = list(track(find_problems(files, **pictures), "problems"))
    if plain:
        for problem in problems:
            typer.echo(problem_line(problem))
    else:
        Console().print(problem_tables(problems))
    typer.echo(summary(problems), err=plain)
    if any(problem.severity == "error" or strict for problem in problems):
        raise typer.Exit(1)


@app.command()
def export(
    file_format: Annotated[ExportFormat, typer.Argument(metavar="FORMAT", help="conll, jsonlines or chinese-clip.")],
    output_dir: Annotated[Path, typer.Option(help="Folder to write.")],
    data_dir: DataDir = None,
    annotations: Annotations = None,
    splits: Splits = None,
    titles: Titles = None,
    frames_dir: FramesDir = None,
    regions_dir: RegionsDir = None,
    config: Annotated[CorpusPart, typer.Option(help="Which dialogues.")] = CorpusPart.all,
) -> None:
    """Write other formats: `conll` (CoNLL-2012), `jsonlines` (e2e-coref family), `chinese-clip` (tsv and jsonl).

    Every dialogue is read back from what was written of it, and compared. chinese-clip needs pictures.
    """
    from tiktalkcoref.corpus.export import export
    from tiktalkcoref.corpus.reading import read_corpus
    from tiktalkcoref.files.progress import track

    files = _corpus_files(data_dir, annotations, splits, titles)
    records = read_corpus(files, frames_dir=frames_dir, regions_dir=regions_dir)
    chosen = (record for record in records if config.value in ("all", record["video_type"]))
    for name, count in export(track(chosen, "exporting"), output_dir, file_format.value).items():
        typer.echo(f"{output_dir / name}: {count}")


@app.command()
def show(
    doc_key: Annotated[str | None, typer.Argument(help="Which dialogue; the first one if not said.")] = None,
    data_dir: DataDir = None,
    annotations: Annotations = None,
    splits: Splits = None,
    titles: Titles = None,
    config: Annotated[CorpusPart, typer.Option(help="Choose among these dialogues.")] = CorpusPart.all,
    random: Annotated[bool, typer.Option("--random", help="Draw a dialogue instead.")] = False,
    seed: Annotated[int | None, typer.Option(help="With --random: the same seed draws the same dialogue.")] = None,
) -> None:
    """Print a dialogue with its clusters coloured, and their labels and boxes."""
    from tiktalkcoref.corpus.reading import read_corpus
    from tiktalkcoref.corpus.show import choose_record, show_record

    if doc_key is not None and random:
        raise typer.BadParameter("name a dialogue or draw one, not both", param_hint="--random")
    files = _corpus_files(data_dir, annotations, splits, titles)
    records = (record for record in read_corpus(files) if config.value in ("all", record["video_type"]))
    Console(highlight=False).print(show_record(choose_record(records, doc_key, random, seed)))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe (sample, text-small, ...) or a YAML file.")],
    dataset: Annotated[
        str | None, typer.Option(help="Folder of `prepare` or of upstream's files, Hub id, or `sample`.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run; runs/RECIPE if left out.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the recipe. Repeat it."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
) -> None:
    """Train by a recipe; several processes: `accelerate launch -m tiktalkcoref.training.train RECIPE`."""
    from tiktalkcoref.training.train import main

    main(recipe, dataset=dataset, output=output, overrides=overrides or [], resume=resume, quiet=quiet)


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="Folder of a run or of a model, or a Hub id.")],
    dataset: Annotated[str, typer.Option(help="As for `train`: folder, Hub id, or `sample`.")],
    output_dir: Annotated[Path, typer.Option(help="Gets scores.json, predictions.jsonl and report.html.")],
    config: Annotated[CorpusPart, typer.Option(help="Which dialogues.")] = CorpusPart.all,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    fold: Annotated[str | None, typer.Option(help="A fold of a cross-validation, like 2/5.")] = None,
    batch_size: Annotated[int, typer.Option(help="Dialogues read at once; changes no score.")] = 32,
    n_resamples: Annotated[int, typer.Option(help="Bootstrap resamples for the intervals; 0 for none.")] = 1000,
    confidence_level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    with_pictures: Annotated[bool, typer.Option(help="Whether to look at the pictures.")] = True,
) -> None:
    """Evaluate a model: all scores with intervals, links by setting, baselines, and an HTML report."""
    from tiktalkcoref.evaluation.evaluate import Resampling, main

    main(
        model, dataset, output_dir, config=config.value, split=split, fold=fold, batch_size=batch_size,
        resampling=Resampling(n_resamples, confidence_level, seed), with_pictures=with_pictures,
    )  # fmt: skip


@app.command()
def predict(
    model: Annotated[str, typer.Option(help="Folder of a run or of a model, or a Hub id.")],
    sentences: Annotated[list[str] | None, typer.Argument(help="The utterances of one dialogue.")] = None,
    speaker: Annotated[
        list[str] | None, typer.Option(help="Who says each utterance, in turn; A, B, ... if not said.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="The video's title, for a model that reads it.")] = None,
    region: Annotated[list[Path] | None, typer.Option(help="Picture of a head; repeat it for each candidate.")] = None,
    input_file: Annotated[
        Path | None, typer.Option("--input", help="Instead: JSON or JSON lines of dialogues.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Instead: a dataset, as for `train`.")] = None,
    config: Annotated[CorpusPart, typer.Option(help="With --dataset: which dialogues.")] = CorpusPart.all,
    split: Annotated[str, typer.Option(help="With --dataset: which split.")] = "test",
    output: Annotated[Path | None, typer.Option(help="Write JSON lines here instead of printing.")] = None,
    batch_size: Annotated[int, typer.Option(help="Dialogues read at once.")] = 32,
) -> None:
    """Find who is meant: `tiktalkcoref predict --model M 这个男生认识她吗 可以`. Pictures are optional."""
    from tiktalkcoref.inference.predict import dataset_dialogues, main, read_dialogues

    if sum(map(bool, (sentences, input_file, dataset))) != 1:
        raise ValueError("nothing (or too much) to read: give the utterances as arguments, or --input, or --dataset")
    if sentences:
        spoken = {"sentences": sentences, "speakers": speaker, "title": title, "regions": region}
        dialogues = [{key: value for key, value in spoken.items() if value}]
    else:
        dialogues = read_dialogues(input_file) if input_file else dataset_dialogues(dataset, config.value, split)
    main(model, dialogues, output, batch_size)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Gets corpus, dataset, run and evaluation.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
) -> None:
    """The whole way on the embedded sample: corpus, dataset, training, evaluation, prediction, report; on a CPU."""
    from tiktalkcoref.demo import run_demo

    run_demo(output, seed)


@app.command()
def push(
    what: Annotated[str, typer.Argument(metavar="dataset|model|metric|all", help="Which repositories.")],
    namespace: Annotated[str, typer.Option(help="Your Hub name, or an organisation's.")],
    dataset: Annotated[Path, typer.Option(help="Folder that `prepare` wrote.")] = Path("tiktalkcoref"),
    model: Annotated[Path | None, typer.Option(help="Folder of the model, such as model/ of a training run.")] = None,
    scores: Annotated[list[Path] | None, typer.Option(help="scores.json of `evaluate`, for the card.")] = None,
    base_model: Annotated[list[str] | None, typer.Option(help="Hub id the weights started from; repeatable.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Other names: NAME, or KIND=NAME with `all`.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Create the repositories private.")] = False,
    revision: Annotated[str, typer.Option(help="Branch to push to; created if it is not there.")] = "main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build and compare, change nothing.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
    collection: Annotated[bool, typer.Option("--collection", help="Also add them to the collection.")] = False,
    with_pictures: Annotated[
        bool,
        typer.Option(
            "--with-pictures",
            help="Upload the pictures too. **Do you hold a licence for them?** They are frames of other people's "
            "videos and show faces; the annotations' MIT licence does not cover them.",
        ),
    ] = False,
    build_dir: Annotated[Path | None, typer.Option(help="Keep the folders as they are uploaded here.")] = None,
) -> None:
    """Build the Hub repositories and push them: one commit each, none where nothing changed; safe to repeat."""
    from tiktalkcoref.hub.kinds import KINDS, Sources, parse_names
    from tiktalkcoref.hub.push import Options, push

    if what not in (*KINDS, "all"):
        raise ValueError(f"cannot push {what!r}: expected one of {', '.join(KINDS)} or all")
    push(
        list(KINDS) if what == "all" else [what],
        Sources(dataset, model, tuple(scores or ()), tuple(base_model or ()), with_pictures),
        Options(namespace, parse_names(name or [], what), private, revision, dry_run, create_pr, collection, build_dir),
        Console(soft_wrap=True),
    )


@app.command()
def score(
    gold: Annotated[
        Path, typer.Option(help="Gold documents: jsonl (dataset rows, or metric references) or CoNLL-2012.")
    ],
    predicted: Annotated[Path, typer.Option(help="Predicted documents: jsonl or CoNLL-2012, the same documents.")],
    output: Annotated[Path | None, typer.Option(help="Write the scores to this JSON file.")] = None,
    keep_singletons: Annotated[bool, typer.Option(help="Whether clusters of one mention count.")] = True,
    k: Annotated[list[int] | None, typer.Option(help="Cut-offs of recall@k; default 1, 2, 3.")] = None,
    iou_threshold: Annotated[float, typer.Option(help="Least overlap of matched regions.")] = 0.5,
    n_resamples: Annotated[int, typer.Option(help="Bootstrap resamples for intervals; 0 for none.")] = 1000,
    confidence_level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
) -> None:
    """Score predicted clusters, links and regions against gold ones."""
    from tiktalkcoref.evaluate_metric.files import score_files, write_scores
    from tiktalkcoref.evaluate_metric.report import tables

    options = {"ks": tuple(k or (1, 2, 3)), "keep_singletons": keep_singletons, "iou_threshold": iou_threshold}
    options |= {"n_resamples": n_resamples, "confidence_level": confidence_level, "seed": seed}
    result = score_files(gold, predicted, **options)
    Console().print(tables(result["scores"]))
    if output:
        write_scores(result, output)


def main() -> None:
    """Run the command line; a mendable error becomes one message on stderr and exit code 1."""
    try:
        app()
    except (ValueError, OSError) as error:
        if "--debug" in sys.argv:
            raise
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
