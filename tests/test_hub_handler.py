"""The handler behind a server that does what the Hub's serving toolkit does: answers, refusals, memory."""

import base64
import http.client
import io
import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hub_server import LocalHub, client_environment
from PIL import Image

from tiktalkcoref.hub import model_repo
from tiktalkcoref.hub.kinds import KINDS, Sources
from tiktalkcoref.modeling.handler import EndpointHandler

IDS = {kind: f"writer/{KINDS[kind].default_name}" for kind in KINDS}


def png(size=(40, 40), colour="red", kind="PNG", mode="RGB") -> str:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="session")
def repository(tiny_model_folder, tmp_path_factory) -> Path:
    """The model repository's folder as it is pushed."""
    folder = tmp_path_factory.mktemp("repository")
    sources = Sources(model=tiny_model_folder)
    model_repo.check(sources)
    model_repo.build(sources, IDS, folder)
    return folder


class Endpoint:
    """A client of the server; `port` is its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, object]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        connection.request(method, path, body)
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    def __call__(self, data: object) -> tuple[int, object]:
        return self.request("POST", "/", json.dumps(data).encode())


@pytest.fixture(scope="session")
def endpoint(repository, tmp_path_factory):
    home = tmp_path_factory.mktemp("endpoint")
    with LocalHub() as hub:  # where nothing is ever asked
        process = subprocess.Popen(
            [sys.executable, Path(__file__).parent / "hub_serving.py", repository],
            env=client_environment(hub, home, token=None) | {"HF_HUB_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            stderr=(home / "log").open("w"),
            text=True,
        )
        try:
            line = process.stdout.readline()
            assert line, (home / "log").read_text()
            yield Endpoint(int(line))
            assert not (home / "blocked").exists()
            assert not hub.log
        finally:
            process.kill()
            process.wait()


def test_the_widget_examples_give_what_the_card_prints(repository, endpoint):
    card = (repository / "README.md").read_text(encoding="utf-8")
    printed = re.findall(r"```text\n(.*?)\n```\n+```json\n(.*?)\n```", card, re.DOTALL)
    assert len(printed) == len(model_repo.EXAMPLES) >= 3
    assert any(json.loads(output) for _, output in printed)
    for text, output in printed:
        assert endpoint({"inputs": text}) == (200, json.loads(output))


def test_a_string_gives_groups_with_offsets_into_it(endpoint):
    text = "\n  我爱这个男生\r\n\n他是老师吗 \n"
    status, groups = endpoint({"inputs": text, "parameters": {"aggregation_strategy": "simple"}, "options": {}})
    assert status == 200
    assert groups
    for group in groups:
        assert set(group) == {"entity_group", "word", "start", "end", "score"}
        assert group["word"] == text[group["start"] : group["end"]]
        assert "\n" not in group["word"]
        assert re.fullmatch(r"C[1-9]\d*", group["entity_group"])
        assert 0 < group["score"] <= 1
    assert [group["start"] for group in groups] == sorted(group["start"] for group in groups)
    assert endpoint(text) == (200, groups)
    # the same mentions as in the full result, their offsets counted over the whole input
    clusters = endpoint({"sentences": ["我爱这个男生", "他是老师吗"]})[1]["clusters"]
    starts = [text.index("我"), text.index("他")]
    spans = {
        (f"C{number}", starts[mention["sentence"]] + mention["start"], starts[mention["sentence"]] + mention["end"])
        for number, cluster in enumerate(clusters, start=1)
        for mention in cluster["mentions"]
    }
    assert {(group["entity_group"], group["start"], group["end"]) for group in groups} == spans
    assert any(start >= starts[1] for _, start, _ in spans)


def test_a_dialogue_gives_the_full_result(endpoint):
    dialogue = {"sentences": ["我爱这个男生", "他是老师吗"], "speakers": ["A", "B"], "title": "老师"}
    status, plain = endpoint({"inputs": dialogue})
    assert status == 200
    assert plain["text_only"]
    pictures = [png(), "data:image/jpeg;base64," + png(colour="blue", kind="JPEG")]
    status, result = endpoint({"inputs": {**dialogue, "regions": pictures}})
    assert status == 200
    assert [cluster["mentions"] for cluster in result["clusters"]] == [c["mentions"] for c in plain["clusters"]]
    assert all(len(cluster["region_scores"]) == 2 for cluster in result["clusters"])
    several = [[png(), png(colour="green")], png(colour="blue")]
    status, tracked = endpoint({"inputs": {**dialogue, "regions": several}})
    assert status == 200
    assert all(len(cluster["region_scores"]) == 2 for cluster in tracked["clusters"])
    assert endpoint({"inputs": {**dialogue, "regions": [[png((1, 1))] * 65]}})[0] == 400
    boxes = [{"frame": 0, "bbox": [0, 0, 20, 20]}, {"frame": 0, "bbox": [20, 0, 40, 40]}]
    assert endpoint({**dialogue, "frames": [png()], "boxes": boxes})[0] == 200
    status, linked = endpoint({**dialogue, "regions": pictures, "clusters": result["clusters"][:1]})
    assert status == 200
    assert len(linked["clusters"]) == 1


TWO = {"sentences": ["我爱他", "他好吗"]}
BAD = {
    "no input": ({}, "inputs.sentences: found nothing"),
    "null": ({"inputs": None}, "found inputs of type nothing, expected a string"),
    "a number": ({"inputs": 7}, "found inputs of type a int"),
    "a batch": ({"inputs": ["我", "他"]}, "found inputs of type a list, expected a string or"),
    "blank": ({"inputs": " \n\n"}, "inputs is empty"),
    "too long": ({"inputs": "我" * 20_001}, "found 20,001 characters, at most 20,000"),
    "half a surrogate": ({"inputs": "我\ud83d他"}, "character 1 is half of a surrogate pair"),
    "unknown key": ({"inputs": {**TWO, "speaker": ["A", "B"]}}, "unknown key 'speaker'; known: sentences, speakers"),
    "unknown key beside": ({"inputs": "我", "model": "x"}, "the request has the unknown key 'model'"),
    "parameters": ({"inputs": "我", "parameters": {"top_k": 3}}, "this model takes none"),
    "sentences as text": ({"inputs": {"sentences": "我爱他"}}, "sentences: found a string, expected a list"),
    "an empty utterance": ({"inputs": {"sentences": ["我", ""]}}, "sentences[1] is empty"),
    "an utterance of numbers": ({"inputs": {"sentences": [["我", 3]]}}, "expected a character"),
    "speakers short": ({"inputs": {**TWO, "speakers": ["A"]}}, "fewer speakers than utterances"),
    "speakers wrong": ({"inputs": {**TWO, "speakers": 2}}, "speakers: found a value of type int"),
    "title wrong": ({"inputs": {**TWO, "title": 3}}, "title: found a value of type int"),
    "an address": ({"inputs": {**TWO, "regions": ["http://127.0.0.1:9/x.png"]}}, "addresses are not fetched"),
    "a file address": ({"inputs": {**TWO, "regions": ["file:///etc/hostname"]}}, "addresses are not fetched"),
    "a path": ({"inputs": {**TWO, "regions": ["/etc/hostname"]}}, "not base64"),
    "no base64": ({"inputs": {**TWO, "regions": ["头像.png"]}}, "regions[0]: not base64"),
    "no picture": ({"inputs": {**TWO, "regions": [base64.b64encode(b"hello").decode()]}}, "no picture that can be"),
    "half a picture": ({"inputs": {**TWO, "regions": [png((300, 300))[:200]]}}, "the picture is damaged"),
    "a picture of another type": ({"inputs": {**TWO, "regions": [{"url": "x"}]}}, "found an object, expected the"),
    "a huge picture": ({"inputs": {**TWO, "regions": [png((9000, 8000), 1, mode="1")]}}, "64,000,000 pixels"),
    "too many pictures": ({"inputs": {**TWO, "regions": [png((1, 1))] * 65}}, "inputs.regions: found 65, at most 64"),
    "regions as text": ({"inputs": {**TWO, "regions": png()}}, "inputs.regions: found a string, expected a list"),
    "a box outside": (
        {"inputs": {**TWO, "frames": [png()], "boxes": [{"frame": 0, "bbox": [0, 0, 50, 50]}]}},
        "leaves frames[0]",
    ),
    "a mention outside": (
        {"inputs": {**TWO, "mentions": [{"sentence": 0, "start": 0, "end": 9}]}},
        "in an utterance of 3 characters",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_with_a_message(endpoint, name):
    data, message = BAD[name]
    status, answer = endpoint(data)
    assert status == 400
    assert list(answer) == ["error"]
    assert message in answer["error"]
    assert "\n" not in answer["error"]
    assert "Traceback" not in answer["error"]
    assert len(answer["error"]) < 400


def test_a_failure_of_the_model_says_nothing_of_its_inside(caplog):
    handler = object.__new__(EndpointHandler)
    handler.lock = threading.Lock()
    handler.pipeline = lambda dialogue: {}["a secret"]
    with pytest.raises(RuntimeError, match="the model failed on this request") as failure:
        handler("我爱他")
    assert "secret" not in str(failure.value)
    assert "a secret" in caplog.text  # the log has it


def test_an_address_is_not_fetched(endpoint):
    with LocalHub() as trap:
        status, answer = endpoint({**TWO, "regions": [f"{trap.url}/writer/x/resolve/main/head.png"]})
        assert status == 400
        assert "not fetched" in answer["error"]
        assert not trap.log


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
def test_two_hundred_requests_at_once_keep_memory_flat(endpoint):
    picture = png((500, 500))
    requests = [
        {"inputs": "我爱这个男生\n他是老师吗"},
        {"inputs": {"sentences": ["我爱他" * 50, "他好吗"], "regions": [picture] * 4}},
        {"inputs": {**TWO, "regions": [picture, picture]}},
        {"inputs": {**TWO, "regions": ["http://localhost/x"]}},
    ]
    bodies = [json.dumps(requests[number % 4]).encode() for number in range(200)]

    def round_of_requests() -> tuple[dict, list[int]]:
        with ThreadPoolExecutor(200) as pool:
            statuses = [status for status, _ in pool.map(lambda body: endpoint.request("POST", "/", body), bodies)]
        return endpoint.request("GET", "/memory")[1], statuses

    for body in bodies[:8]:
        endpoint.request("POST", "/", body)
    round_of_requests()  # threads and caches
    idle = endpoint.request("GET", "/memory")[1]["VmRSS"]
    peaks = []
    for _ in range(2):
        memory, statuses = round_of_requests()
        assert statuses == [200, 200, 200, 400] * 50
        peaks.append(memory)
    assert max(memory["VmHWM"] for memory in peaks) - idle < 50e6
    assert peaks[-1]["VmRSS"] - idle < 20e6
