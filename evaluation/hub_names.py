"""Names that may be of the Hub: whether it answers is asked once and quickly, since its clients try for a minute."""

import contextlib
from collections.abc import Iterator

import datasets
from huggingface_hub import constants
from huggingface_hub.utils import get_session

SECONDS = 5.0


def hub_answers() -> bool:
    """Whether the Hub gives any answer within a few seconds; not in offline mode."""
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception:  # of whatever client the session is made: no answer is no answer
        return False
    return True


@contextlib.contextmanager
def without_waiting() -> Iterator[bool]:
    """Inside the block, if the Hub does not answer, names are looked up in the local caches alone; yields whether."""
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    answers = hub_answers()
    if not answers:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield answers
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
