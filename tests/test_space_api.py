"""The endpoint through gradio_client: the pipeline's own answers, refusals, files, many clients at once, a kill."""

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from space_serving import memory, serving, upload_folders

from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline

client_library = pytest.importorskip("gradio_client", reason="needs the extra space")
pytestmark = pytest.mark.timeout(900)
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def served(tiny_model_folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("space")
    with serving(tiny_model_folder, home) as (url, process):
        yield url, process, home


@pytest.fixture(scope="module")
def client(served):
    return client_library.Client(served[0], verbose=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("heads")
    for colour in COLOURS:
        Image.new("RGB", (40, 40), colour).save(folder / f"{colour}.png")
    return [str(folder / f"{colour}.png") for colour in COLOURS]


def test_the_answer_is_that_of_the_pipeline(client, tiny_model_folder, pictures):
    model, processor = load_model(tiny_model_folder)
    pipeline = TikTalkCorefPipeline(model=model, processor=processor)
    words = {"sentences": ["乙：这个男生好看", "我妈妈爱他"], "speakers": ["甲", "乙"]}
    files = [client_library.handle_file(path) for path in pictures]
    answer = client.predict(**words, regions=files, api_name="/resolve")
    expected = pipeline({**words, "regions": pictures})
    assert answer == {"sentences": words["sentences"], **json.loads(json.dumps(expected))}
    assert answer["clusters"]

    boxes = [[0, 0, 20, 40], [20, 0, 40, 40]]
    answer = client.predict(**words, frame=files[0], boxes=boxes, api_name="/resolve")
    boxed = [{"frame": 0, "bbox": box} for box in boxes]
    assert answer["clusters"] == json.loads(
        json.dumps(pipeline({**words, "frames": pictures[:1], "boxes": boxed})["clusters"])
    )
    assert client.predict(sentences=["他好看"], api_name="/resolve")["text_only"] is True
    assert [*client.view_api(return_format="dict")["named_endpoints"]] == ["/resolve"]


def test_refusals_say_why_and_files_of_the_server_are_not_opened(client, pictures, tmp_path):
    cases = [
        ({"sentences": []}, "nothing to read"),
        ({"sentences": ["他"], "speakers": ["甲", "乙"]}, "2 speakers for 1"),
        ({"sentences": ["他"], "frame": client_library.handle_file(pictures[0]), "boxes": [[0, 0, 99, 99]]}, "no box"),
        ({"sentences": ["他"], "regions": [{"path": "/etc/hostname"}]}, "deleted meanwhile"),
        ({"sentences": ["<img src=x>"] * 500}, "500 utterances"),
    ]
    for request, reason in cases:
        with pytest.raises(Exception, match=reason):
            client.predict(**request, api_name="/resolve")
    assert client.predict(sentences=["他好看"], api_name="/resolve")["text_only"] is True


@pytest.mark.slow
def test_twenty_clients_at_once_get_their_own_answers_and_memory_stays(served, client, pictures):
    url, process, _ = served
    starts, lock, sizes = "我你他她这那个男女生儿子妈妈好看爱", threading.Lock(), []

    def sentences(n: int) -> list[str]:
        return [starts[n % len(starts)] + "小明" * (n // len(starts) % 7 + 1), starts[n * 5 % len(starts)] + "王老师"]

    def work(worker: int) -> list[tuple[int, dict]]:
        mine = client_library.Client(url, verbose=False)
        answers = []
        for n in range(worker * 10, worker * 10 + 10):
            files = [client_library.handle_file(path) for path in pictures[: n % 3 + 1]]
            answers.append((n, mine.predict(sentences=sentences(n), regions=files, api_name="/resolve")))
            with lock:
                sizes.append(memory(process))
        return answers

    with ThreadPoolExecutor(20) as pool:
        answers = [answer for found in pool.map(work, range(20)) for answer in found]
    assert len(answers) == 200
    for n, answer in answers:
        assert answer["sentences"] == sentences(n)
        assert all(len(cluster["region_scores"]) == n % 3 + 1 for cluster in answer["clusters"])
    print(f"memory after 50: {sizes[49] / 1e6:.0f} MB, at most after that {max(sizes[50:]) / 1e6:.0f} MB")
    assert max(sizes[50:]) < 1.1 * sizes[49]


def test_a_killed_app_leaves_no_upload_behind_at_its_next_start(tiny_model_folder, pictures, tmp_path):
    with serving(tiny_model_folder, tmp_path, stop=signal.SIGKILL) as (url, _):
        client = client_library.Client(url, verbose=False)
        client.predict(sentences=["他"], regions=[client_library.handle_file(pictures[0])], api_name="/resolve")
    (left,) = upload_folders(tmp_path)
    assert list(left.rglob("red.png"))
    with serving(tiny_model_folder, tmp_path):
        assert not left.exists()
        assert not list((tmp_path / "temporary").rglob("red.png"))
    assert upload_folders(tmp_path) == []


def test_nothing_that_visitors_write_is_logged(served, client):
    client.predict(sentences=["妈妈爱这个男生"], title="老师的儿子", api_name="/resolve")
    with pytest.raises(client_library.exceptions.AppError):
        client.predict(sentences=["妈妈爱这个男生"], speakers=["小明", "小王"], api_name="/resolve")
    log = (served[2] / "log").read_text()
    assert not [word for word in ("妈妈", "男生", "老师", "小明") if word in log]
