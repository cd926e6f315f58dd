"""The Space pushed to a local Hub beside its model, then started as the Hub starts it: from the pushed files alone."""

import importlib.metadata
import json
import socket
import subprocess
import sys

import pytest
from hub_server import LocalHub, check_card, client_environment, run_client
from huggingface_hub import SpaceCard
from PIL import Image
from space_serving import wait_for

from tiktalkcoref import __version__
from tiktalkcoref.evaluation.models import load_model
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline

client_library = pytest.importorskip("gradio_client", reason="needs the extra space")
pytestmark = pytest.mark.timeout(600)
SPACE, MODEL = ("space", "lab/who"), ("model", "lab/ours")


@pytest.fixture(scope="module")
def pushed(tiny_model_folder, tmp_path_factory):
    """A Hub with the model and its Space; the Space's files, as the Hub checks them out."""
    work = tmp_path_factory.mktemp("pushed")
    with LocalHub() as hub:
        names = ["--namespace", "lab", "--name", "model=ours", "--name", "space=who"]
        run_client(hub, ["push", "model", "--model", str(tiny_model_folder), *names], work / "pusher")
        run_client(hub, ["push", "space", *names], work / "pusher")
        folder = work / "space"
        folder.mkdir()
        for path in hub.repo(*SPACE).find("main").files:
            (folder / path).write_bytes(hub.read(*SPACE, path))
        yield hub, folder


def test_the_pushed_folder_is_a_complete_space(pushed):
    hub, folder = pushed
    assert hub.repo(*SPACE).sdk == "gradio"
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert check_card(text, "space") == ([], [])
    card = SpaceCard(text, ignore_metadata_errors=False)
    assert (folder / card.data.app_file).is_file()
    assert card.data.to_dict()["models"] == card.data.to_dict()["preload_from_hub"] == ["lab/ours"]
    assert card.data.to_dict()["sdk_version"] == importlib.metadata.version("gradio")
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins.pop("tiktalkcoref[space]") == __version__
    assert {"torch", "transformers", "gradio", "av", "opencv-python-headless"} <= pins.keys()
    assert pins == {name: importlib.metadata.version(name) for name in pins}  # what these tests ran with


def test_it_starts_from_the_pushed_files_and_answers_with_the_pushed_model(pushed, tiny_model_folder, tmp_path):
    hub, folder = pushed
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = client_environment(hub, tmp_path, token=None) | {
        "GRADIO_SERVER_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py"], env=environment, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            assert wait_for(process, tmp_path / "log") == f"http://127.0.0.1:{port}"
            assert hub.requested(r"GET /lab/ours/resolve/.*model\.safetensors")
            client = client_library.Client(f"http://127.0.0.1:{port}", verbose=False)
            Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
            words = {"sentences": ["我妈妈爱这个男生", "他好看"], "speakers": ["甲", "乙"]}
            file = client_library.handle_file(str(tmp_path / "red.png"))
            answer = client.predict(**words, regions=[file], api_name="/resolve")
        finally:
            process.terminate()
            process.wait(60)
    network, processor = load_model(tiny_model_folder)
    expected = TikTalkCorefPipeline(model=network, processor=processor)({**words, "regions": [tmp_path / "red.png"]})
    assert answer == {"sentences": words["sentences"], **json.loads(json.dumps(expected))}
    assert answer["clusters"]
    assert not (tmp_path / "blocked").exists()
    written = {path.name for path in folder.iterdir()} - hub.repo(*SPACE).find("main").files.keys()
    assert written == set()
