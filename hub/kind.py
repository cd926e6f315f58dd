"""What a kind of repository is, and where its content comes from; the kinds themselves are listed in `kinds.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sources:
    """Where the content comes from.

    Attributes:
        dataset: the folder that `tiktalkcoref prepare` wrote.
        model: the folder of a training run, or what `save_pretrained` wrote.
        scores: files `scores.json` that `tiktalkcoref evaluate` wrote for this model.
        base_models: Hub ids that the weights started from, where the run's recipe does not name them.
        with_pictures: whether a dataset that holds pictures may be pushed.
        trust_remote_code: whether code in the model's folder that is not this package's may be run and pushed.
    """

    dataset: Path = Path("tiktalkcoref")
    model: Path | None = None
    scores: tuple[Path, ...] = ()
    base_models: tuple[str, ...] = ()
    with_pictures: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of repository.

    Attributes:
        type: the Hub's type: "dataset", "model" or "space".
        default_name: the name without the namespace.
        check: refuses sources that cannot be pushed (ValueError), before the Hub is asked.
        build: writes the repository folder, given the sources, the repository ids of all kinds and the folder, which
            is empty; returns lines for the user, such as what was left out.
        unlisted: regular expressions of whole paths (`{name}`: the repository's name) that versions before the list
            of pushed files (see `contents.MANIFEST`) wrote; a kind that is newer has none.
        marker: how the path of a file starts that tells such a repository from somebody else's, likewise.
        sdk: of a Space.
    """

    type: str
    default_name: str
    check: Callable[[Sources], None]
    build: Callable[[Sources, dict[str, str], Path], list[str]]
    unlisted: tuple[str, ...] = ()
    marker: str | None = None
    sdk: str | None = None
