"""The console script `tiktalkcoref`: one command each for what the rooms can do.

Every command imports its room when it runs, so that `--help` answers at once. Errors that a user can mend
(`ValueError`, `OSError`) are printed as one message and end with exit code 1; `--debug` shows the traceback.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
    dialogues: Annotated[int, typer.Option(help="How many dialogues; at least 12.")] = 480,
) -> None:
    """Write the embedded sample: a synthetic corpus with pictures, in upstream's own file format."""
    from .sample import write_sample

    typer.echo(f"wrote {dialogues} dialogues to {write_sample(output, seed=seed, dialogues=dialogues)}")


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
