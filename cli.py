"""The console script `tiktalkcoref`: one command each for what the rooms can do.

Every command imports its room when it runs, so that `--help` answers at once. Errors that a user can mend
(`ValueError`, `OSError`) are printed as one message and end with exit code 1; `--debug` shows the traceback.
"""

import sys

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
