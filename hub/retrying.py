"""Requests to the Hub: repeated while the fault is a passing one, as long as the Hub asks for; errors in one line.

The Hub's clients repeat downloads and uploads, but not creating a repository or a commit.
"""

import email.utils
import json
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers
from huggingface_hub.utils._http import default_client_factory
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_exponential, wait_random

try:
    import httpx2 as httpx  # huggingface_hub 2
except ImportError:
    import httpx  # type: ignore[no-redef]  # huggingface_hub 1

T = TypeVar("T")

ATTEMPTS = 10
LONGEST_WAIT = 60.0  # seconds between two attempts, where the Hub names no time
LONGEST_ASKED = 600.0  # seconds that the Hub may ask to wait; more is a case for another day
TIMEOUT = 300.0  # seconds without a byte
CONFLICT = (409, 412)  # statuses that mean: read again, and repeat
_BUSY = (408, 425, 429)
_BROKEN = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, ConnectionError, TimeoutError)
_REFUSED = (HfHubHTTPError, httpx.HTTPError, httpx.InvalidURL, json.JSONDecodeError)


class HubError(OSError):
    """The Hub refused, or did not answer: one line that says what to do."""


class UnreachableError(HubError):
    """The Hub gave no answer, however often it was asked."""


def retry(
    action: Callable[[], T],
    what: str,
    also: Sequence[int] = (),
    notify: Callable[[str], None] = print,
    attempts: int | None = None,
) -> T:
    """Call `action` until it succeeds, with growing pauses or those that the Hub asks for.

    Repeated are broken connections, timeouts, the statuses 408, 425, 429 and 5xx, and those of `also` (`CONFLICT`
    for a commit); anything else is an error at once.

    Args:
        action: can be called again after any failure.
        what: what it does, for messages.
        also: further statuses that a repetition can mend.
        notify: is told of every pause.
        attempts: at most so many; without, `ATTEMPTS` (some two minutes).
    Raises:
        UnreachableError: no success in all attempts, or the Hub asks for too long a pause.
        HubError: the Hub refused.
    """
    attempts = attempts or ATTEMPTS
    grows = wait_exponential(multiplier=0.25, max=LONGEST_WAIT) + wait_random(0, min(0.5, LONGEST_WAIT))

    def passing(error: BaseException) -> bool:
        return (is_passing(error) or status_of(error) in also) and (asked_pause(error) or 0) <= LONGEST_ASKED

    def pause(state: RetryCallState) -> float:
        asked = asked_pause(_error_of(state))
        return grows(state) if asked is None else asked

    def tell(state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        again = f"attempt {state.attempt_number + 1} of {attempts} in {seconds:.1f} s"
        notify(f"{what}: {explain(_error_of(state))}; {again}")

    often = Retrying(
        retry=retry_if_exception(passing),
        stop=stop_after_attempt(attempts),
        wait=pause,
        before_sleep=tell,
        reraise=True,
    )
    try:
        return often(action)
    except HubError:
        raise
    except Exception as error:
        said, so_far = f"{what}: {explain(error)}", "nothing is half-done, the same command continues"
        if passing(error):
            tried = f"no success in {attempts} attempts, the last one: {explain(error)}"
            raise UnreachableError(f"{what}: {tried}; {so_far}") from error
        if is_passing(error):
            asked = f"asks for a pause of {asked_pause(error) or 0:,.0f} s"
            raise UnreachableError(f"{said} and {asked}; {so_far} then") from error
        if isinstance(_root(error), OfflineModeIsEnabled):
            raise UnreachableError(f"{what}: offline mode is on; unset HF_HUB_OFFLINE") from error
        if isinstance(_root(error), _REFUSED):
            raise HubError(said) from error
        raise


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later: no connection, no answer in time, a busy or broken server."""
    error, status = _root(error), status_of(error)
    if status is not None:
        return status in _BUSY or 500 <= status < 600
    return isinstance(error, _BROKEN) and not isinstance(error, OfflineModeIsEnabled)


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, None where there was no answer."""
    return getattr(getattr(_root(error), "response", None), "status_code", None)


def asked_pause(error: BaseException) -> float | None:
    """Seconds that the Hub asks to wait: `Retry-After` (seconds or a date), or the reset of its rate limit."""
    response = getattr(_root(error), "response", None)
    if response is None:
        return None
    value = str(response.headers.get("Retry-After", "")).strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:  # none, or one that cannot be read
        limit = parse_ratelimit_headers(response.headers)
        return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None


def explain(error: BaseException) -> str:
    """An error of the clients as a single line."""
    error, status = _root(error), status_of(error)
    if status in CONFLICT:
        return f"another commit came first ({status})"
    if status is not None:
        return " ".join(f"the Hub answered {status} {getattr(error, 'server_message', None) or ''}".split())
    if isinstance(error, json.JSONDecodeError):
        return "the answer is no JSON: is there a proxy or a login page in between?"
    return " ".join((str(error) or type(error).__name__).split())


def limit_waiting() -> None:
    """Let every client of this process give up on a connection that is silent for `TIMEOUT` seconds.

    The Hub's clients wait for ever, and share one HTTP session a process: this is for a process of our own, the
    command line, and not called by `push`.
    """

    def limited() -> httpx.Client:
        client = default_client_factory()
        client.timeout = httpx.Timeout(TIMEOUT)
        return client

    set_client_factory(limited)


def _root(error: BaseException) -> BaseException:
    """The error itself: uploads wrap what went wrong in a RuntimeError."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None  # asked for after a failure alone
    return error
