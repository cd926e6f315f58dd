"""Requests repeated: which errors pass, how long a pause is, and what a caller's HTTP session has to do with it."""

import email.utils
import json
import time

import pytest
from hub_server import LocalHub, run_client
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session

from tiktalkcoref.hub import retrying
from tiktalkcoref.hub.retrying import HubError, UnreachableError, asked_pause, httpx, is_passing, retry


@pytest.fixture
def hub():
    with LocalHub() as server:
        yield server


def answer(status: int, **headers: str) -> HfHubHTTPError:
    """What the clients raise for a status."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = httpx.Request("POST", "http://localhost/api/repos/create")
    return HfHubHTTPError("refused", response=httpx.Response(status, headers=headers, request=request))


def wrapped(cause: Exception) -> RuntimeError:
    """What the clients make of an error in an upload."""
    error = RuntimeError("Error while uploading")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [answer(status) for status in (408, 429, 500, 502, 503, 504, 520)]
    + [ConnectionError(), ConnectionResetError(), TimeoutError(), wrapped(answer(503)), wrapped(httpx.ReadError(""))]
    + [httpx.ConnectError(""), httpx.ReadTimeout(""), httpx.PoolTimeout(""), httpx.RemoteProtocolError("")],
    ids=repr,
)
def test_what_passes(error):
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [answer(status) for status in (400, 401, 403, 404, 409, 412, 413)]
    + [NotImplementedError(), RuntimeError("internal"), RecursionError(), wrapped(answer(403)), wrapped(ValueError())]
    + [ValueError(), KeyError(), OSError("disk full"), MemoryError(), json.JSONDecodeError("x", "<", 0)]
    + [httpx.UnsupportedProtocol(""), httpx.LocalProtocolError(""), OfflineModeIsEnabled(), SystemExit(143)],
    ids=repr,
)
def test_what_does_not_pass_is_tried_once(error):
    calls = []

    def action():
        calls.append(1)
        raise error

    assert not is_passing(error)
    with pytest.raises((type(error), HubError)):
        retry(action, "a try", notify=lambda _: pytest.fail("a pause"))
    assert len(calls) == 1


def test_the_pause_that_is_asked_for():
    assert asked_pause(answer(503)) is None
    assert asked_pause(ConnectionError()) is None
    assert asked_pause(answer(429, Retry_After="17")) == 17
    assert asked_pause(wrapped(answer(429, Retry_After="17"))) == 17
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < asked_pause(answer(503, Retry_After=date)) <= 60
    assert asked_pause(answer(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")) == 0
    assert asked_pause(answer(503, Retry_After="later")) is None
    assert asked_pause(answer(429, ratelimit='"api";r=0;t=55')) == 55
    assert asked_pause(answer(429, ratelimit='"api";r=3;t=55')) is None


def test_a_pause_of_an_hour_is_not_sat_out():
    with pytest.raises(UnreachableError, match="the Hub answered 429 and asks for a pause of 3,600 s"):
        retry(lambda: (_ for _ in ()).throw(answer(429, Retry_After="3600")), "a try")


def test_pauses_grow_for_two_minutes(monkeypatch):
    pauses = []
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    with pytest.raises(UnreachableError, match="a try: no success in 10 attempts, the last one: ConnectionError"):
        retry(lambda: (_ for _ in ()).throw(ConnectionError()), "a try", notify=lambda _: None)
    assert len(pauses) == 9
    for number, pause in enumerate(pauses):
        assert 0 <= pause - min(60, 0.25 * 2**number) <= 0.5


def test_the_hub_says_when_to_come_back(hub, tmp_path):
    hub.fail("POST .*/commit/main", "429 3")
    result = run_client(hub, ["push", "metric", "--namespace", "writer"], tmp_path)
    commits = [
        (entry[2], at) for entry, at in zip(hub.log, hub.times, strict=True) if entry in hub.requested("/commit/main")
    ]
    assert [status for status, _ in commits] == [429, 200]
    assert 3 <= commits[1][1] - commits[0][1] < 10
    assert "the Hub answered 429" in result.stdout
    assert "attempt 2 of 10 in 3.0 s" in result.stdout


def test_a_silent_connection_is_given_up_by_the_command_line(hub, tmp_path):
    hub.fail("POST .*/commit/main", "hang")
    script = """
import sys
from tiktalkcoref import cli
from tiktalkcoref.hub import retrying
retrying.TIMEOUT = 1
sys.argv = ["tiktalkcoref", "push", "metric", "--namespace", "writer"]
cli.main()
"""
    run_client(hub, script, tmp_path, timeout=100)
    titles = [commit.title for commit in hub.repo("space", "writer/tiktalkcoref_metric").history()]
    assert titles == ["Release 0.1.0", "initial commit"]


def test_a_caller_keeps_its_http_session(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    session = get_session()
    monkeypatch.setattr(session, "timeout", httpx.Timeout(17))
    hub.fail("GET /api/whoami", "503", times=2)
    account = retrying.retry(HfApi(endpoint=hub.url, token="hf_writer").whoami, "who", notify=lambda _: None)
    assert account["name"] == "writer"
    assert get_session() is session
    assert session.timeout == httpx.Timeout(17)
