"""The commands that make, read, check and rewrite a corpus; `cli` gathers them."""

import functools
import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiktalkcoref.files.terminal import Terminal, counted, say

if TYPE_CHECKING:
    from tiktalkcoref.corpus.files import CorpusFiles


def sample(
    output: Annotated[Path, typer.Option(help="Folder to write: annotation files, frames and faces_all.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    dialogues: Annotated[int, typer.Option(help="How many dialogues; at least 12.")] = 3000,
) -> None:
    """Write the embedded sample: a synthetic corpus with pictures, in upstream's own file format."""
    from tiktalkcoref.sample import write_sample

    folder = write_sample(output, seed=seed, dialogues=dialogues)
    say(f"wrote {counted(dialogues, 'dialogue')} to {folder}")


# Commands that read the corpus


def _find_corpus(
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the corpus files, by their upstream names.")
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help="The annotation file, if not in --data-dir.")] = None,
    splits: Annotated[Path | None, typer.Option(help="The split file, likewise.")] = None,
    titles: Annotated[Path | None, typer.Option(help="The file of video titles, likewise.")] = None,
) -> "CorpusFiles":
    """The files that were named; without any, they are downloaded from the upstream repository."""
    from tiktalkcoref.corpus.files import download_files, find_files

    if data_dir is None and annotations is None and splits is None and titles is None:
        return download_files()
    return find_files(data_dir, annotations=annotations, splits=splits, titles=titles)


def _reads_corpus(command: Callable[..., None]) -> Callable[..., None]:
    """Call the command with the `files` that the options of `_find_corpus` name, and give it these options."""
    where = inspect.signature(_find_corpus).parameters
    own = {name: option for name, option in inspect.signature(command).parameters.items() if name != "files"}

    @functools.wraps(command)
    def with_files(**given: Any) -> None:
        command(_find_corpus(**{name: given.pop(name) for name in where}), **given)

    options = [option.replace(kind=option.KEYWORD_ONLY) for option in (*own.values(), *where.values())]
    with_files.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    with_files.__annotations__ = {option.name: option.annotation for option in options}
    return with_files


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


@_reads_corpus
def prepare(
    files: "CorpusFiles",
    frames_dir: FramesDir = None,
    regions_dir: RegionsDir = None,
    videos_dir: Annotated[Path | None, typer.Option(help="Folder of <doc_key>.mp4: `video_path` names them.")] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder to write.")] = Path("tiktalkcoref"),
    check_pictures: Annotated[bool, typer.Option(help="Open and decode each picture before it is embedded.")] = True,
) -> None:
    """Write the Hub-ready folder: Parquet and a dataset card. Pictures are embedded when their folders are named.

    Beside it, `load_dataset("tiktalkcoref", "celeb")` works, offline and without running code.
    """
    from tiktalkcoref.hub.prepare import prepare, survey

    facts = survey(files, frames_dir, regions_dir, check_pictures, videos_dir)
    folder = prepare(files, output_dir, frames_dir, regions_dir, videos_dir=videos_dir, facts=facts)
    dialogues = facts["counts"]["all", "all"].dialogues
    say(f"wrote {counted(dialogues, 'dialogue')} in five configs to {folder}")
    for kind, named in (("frame", frames_dir), ("region", regions_dir)):
        if named is not None:
            found = facts["pictures"][kind]
            say(f"{kind} pictures: {found['found']} embedded, {found['missing']} missing in {named}")
    if videos_dir is not None:
        whole = facts["counts"]["all", "all"]
        minutes = (whole.seconds or 0) / 60
        say(f"videos: {whole.videos} of {whole.dialogues} found in {videos_dir}, {minutes:.1f} minutes")
    if facts["warnings"]:
        say(f"{counted(sum(facts['warnings'].values()), 'warning')}; `tiktalkcoref validate` lists them all")


@_reads_corpus
def split(
    files: "CorpusFiles",
    output_dir: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    """Write upstream's own layout: `all.textual.jsonl`, `all/train.textual.jsonl`, `celeb/...`: twenty files."""
    from tiktalkcoref.corpus.split import split

    counts = split(files, output_dir)
    say(f"wrote {len(counts)} files of {counted(counts['all.textual.jsonl'], 'dialogue')} to {output_dir}")


@_reads_corpus
def stats(
    files: "CorpusFiles",
    videos_dir: Annotated[Path | None, typer.Option(help="Folder of <doc_key>.mp4, to measure durations.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Folder for statistics.json and the PNG figures.")] = None,
) -> None:
    """Print the figures of the corpus, measured, beside the published ones; with --output-dir draw them too."""
    from tiktalkcoref.corpus.reading import read_corpus
    from tiktalkcoref.corpus.statistics import measure, statistics_table, write_statistics
    from tiktalkcoref.files.progress import track

    counts = measure(track(read_corpus(files), "counting"), videos_dir)
    Terminal().print(statistics_table(counts))
    if output_dir is not None:
        say(f"wrote statistics.json and figures to {write_statistics(counts, output_dir)}")


@_reads_corpus
def validate(
    files: "CorpusFiles",
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

    found = find_problems(files, frames_dir=frames_dir, regions_dir=regions_dir, require_images=require_images)
    problems = list(track(found, "problems"))
    if plain:
        for problem in problems:
            say(problem_line(problem))
    else:
        Terminal().print(problem_tables(problems))
    say(summary(problems), err=plain)
    if any(problem.severity == "error" or strict for problem in problems):
        raise typer.Exit(1)


@_reads_corpus
def export(
    files: "CorpusFiles",
    file_format: Annotated[ExportFormat, typer.Argument(metavar="FORMAT", help="conll, jsonlines or chinese-clip.")],
    output_dir: Annotated[Path, typer.Option(help="Folder to write.")],
    frames_dir: FramesDir = None,
    regions_dir: RegionsDir = None,
    config: Annotated[CorpusPart, typer.Option(help="Which dialogues.")] = CorpusPart.all,
) -> None:
    """Write other formats: `conll` (CoNLL-2012), `jsonlines` (e2e-coref family), `chinese-clip` (tsv and jsonl).

    chinese-clip needs pictures.
    """
    from tiktalkcoref.corpus.export import export
    from tiktalkcoref.corpus.reading import read_corpus
    from tiktalkcoref.files.progress import track

    records = read_corpus(files, frames_dir=frames_dir, regions_dir=regions_dir)
    chosen = (record for record in records if config in ("all", record["video_type"]))
    for name, count in export(track(chosen, "exporting"), output_dir, file_format.value).items():
        say(f"{output_dir / name}: {count}")


@_reads_corpus
def show(
    files: "CorpusFiles",
    doc_key: Annotated[str | None, typer.Argument(help="Which dialogue; the first one if not said.")] = None,
    config: Annotated[CorpusPart, typer.Option(help="Choose among these dialogues.")] = CorpusPart.all,
    random: Annotated[bool, typer.Option("--random", help="Draw a dialogue instead.")] = False,
    seed: Annotated[int | None, typer.Option(help="With --random: the same seed draws the same dialogue.")] = None,
) -> None:
    """Print a dialogue with its clusters coloured, and their labels and boxes."""
    from tiktalkcoref.corpus.reading import read_corpus
    from tiktalkcoref.corpus.show import choose_record, show_record

    if doc_key is not None and random:
        raise typer.BadParameter("name a dialogue or draw one, not both", param_hint="--random")
    records = (record for record in read_corpus(files) if config in ("all", record["video_type"]))
    Terminal().print(show_record(choose_record(records, doc_key, random, seed)))


COMMANDS = (sample, prepare, split, stats, validate, export, show)
