"""A saved folder runs alone: in a process of its own, without this package, without a network, bit for bit the same."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image

from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline

CHILD = """
import json, pathlib, socket, sys

asked = []

def refuse(*args, **kwargs):
    asked.append(repr(args))
    raise OSError("the network was asked")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
sys.modules["tiktalkcoref"] = None  # importing it fails

import torch
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline

torch.set_num_threads(1)
folder, dialogues = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
report = {"refused": {}}
ways = {
    "config": lambda trust: AutoConfig.from_pretrained(folder, trust_remote_code=trust),
    "model": lambda trust: AutoModel.from_pretrained(folder, trust_remote_code=trust),
    "processor": lambda trust: AutoProcessor.from_pretrained(folder, trust_remote_code=trust),
    "pipeline": lambda trust: pipeline(
        "multimodal-coreference", model=folder, trust_remote_code=trust, device="cpu", batch_size=2
    ),
}
for name, load in ways.items():
    try:
        load(False)
    except ValueError as error:
        report["refused"][name] = str(error)
loaded = {name: load(True) for name, load in ways.items()}
model, processor = loaded["model"].eval(), loaded["processor"]
batch = processor(dialogues, labels=True)
with torch.no_grad():
    output = model(**batch)
losses = ("loss", "loss_start", "loss_end", "loss_clustering", "loss_linking")
report["losses"] = [float(output[name]) for name in losses]
report["start_logits"] = output.start_logits.tolist()
report["predicted"] = model.predict(batch)
for dialogue in dialogues:
    del dialogue["clusters"], dialogue["links"]
report["resolved"] = loaded["pipeline"](dialogues)
again = str(pathlib.Path(folder).with_name("again"))
model.save_pretrained(again)
processor.save_pretrained(again)
report["resolved_again"] = pipeline(
    "multimodal-coreference", model=again, trust_remote_code=True, device="cpu", batch_size=2
)(dialogues)
report["files_again"] = sorted(path.name for path in pathlib.Path(again).iterdir())
report["config"] = loaded["config"].to_dict()
report["modules"] = {name: type(thing).__module__.split(".")[0] for name, thing in loaded.items()}
report["asked"] = asked
print("REPORT" + json.dumps(report, default=str))
"""


def run_child(folder, dialogues, tmp_path) -> dict:
    (tmp_path / "dialogues.json").write_text(json.dumps(dialogues))
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PYTHONPATH")  # nothing that would hide a question
    environment = {key: value for key, value in os.environ.items() if key not in offline}
    environment |= {"HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "child.py", str(folder), "dialogues.json"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert child.returncode == 0, child.stderr[-4000:]
    return json.loads(child.stdout.rpartition("REPORT")[2])


@pytest.fixture(scope="module")
def saved(build_tiny, tmp_path_factory):
    """The folder, and what model and pipeline say before saving and in a process of its own."""
    tmp_path = tmp_path_factory.mktemp("saved")
    picture = tmp_path / "head.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(picture)
    dialogues = [
        {
            "sentences": ["我爱 小明👩", "他好看吗"],
            "speakers": ["A", "B"],
            "title": "老师",
            "regions": [str(picture)] * 2,
        }
        | {"clusters": [[[3, 4], [6, 6]], [[0, 0]]], "links": [1, -1]},
        {"sentences": ["这个男生" * 40, ["她", "abc"]], "regions": []} | {"clusters": [[[0, 3]]], "links": [-1]},
    ]
    # low thresholds, and none unlikely: a random model is to find something
    model, processor = build_tiny(vision=True, mention_threshold=0.03, max_mention_length=4)
    torch.nn.init.zeros_(model.mention_head.start_score.bias)
    torch.nn.init.constant_(model.linking_head.null_cosine, -1.0)
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batch = processor(dialogues, labels=True)
    with torch.no_grad():
        output = model(**batch)
    before = {
        "losses": [
            float(output[name]) for name in ("loss", "loss_start", "loss_end", "loss_clustering", "loss_linking")
        ],
        "start_logits": output.start_logits.tolist(),
        "predicted": model.predict(batch),
    }
    resolver = TikTalkCorefPipeline(model=model, processor=processor, device="cpu", batch_size=2)
    bare = [{key: value for key, value in d.items() if key not in ("clusters", "links")} for d in dialogues]
    before["resolved"] = resolver(bare)
    torch.set_num_threads(threads)
    return folder, before, run_child(folder, dialogues, tmp_path)


def test_every_auto_class_loads_the_folder_s_own_code(saved):
    _, _, after = saved
    assert after["modules"] == dict.fromkeys(("config", "model", "processor", "pipeline"), "transformers_modules")


def test_without_trust_it_is_refused(saved):
    _, _, after = saved
    assert set(after["refused"]) == {"config", "model", "processor", "pipeline"}
    assert all("trust_remote_code=True" in message for message in after["refused"].values())


def test_the_network_is_not_asked(saved):
    _, _, after = saved
    assert after["asked"] == []


def test_outputs_are_equal_to_the_last_bit(saved):
    _, before, after = saved
    assert json.loads(json.dumps(before)) == {key: after[key] for key in before}
    found = [cluster for result in before["resolved"] for cluster in result["clusters"]]
    assert sum(len(cluster["mentions"]) for cluster in found) > 5
    assert any(cluster.get("region") is not None for cluster in found)
    assert [result.get("text_only") for result in before["resolved"]] == [None, True]


def test_what_was_loaded_can_be_saved_again(saved):
    folder, before, after = saved
    assert json.loads(json.dumps(before["resolved"])) == after["resolved_again"]
    assert after["files_again"] == sorted(path.name for path in folder.iterdir())


def test_the_weights_are_safetensors_and_nothing_else(saved):
    folder, _, _ = saved
    names = {path.name for path in folder.iterdir()}
    assert "model.safetensors" in names
    assert not any(name.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")) for name in names)
    assert all(path.is_file() for path in folder.iterdir())
    assert not any(b"import pickle" in path.read_bytes() for path in folder.glob("*.py"))


def test_the_configuration_names_the_code_and_no_local_path(saved):
    folder, _, _ = saved
    config = json.loads((folder / "config.json").read_text())
    assert config["custom_pipelines"]["multimodal-coreference"]["impl"] == "pipeline_tiktalkcoref.TikTalkCorefPipeline"
    assert config["custom_pipelines"]["multimodal-coreference"]["pt"] == ["AutoModel"]
    assert set(config["auto_map"]) == {"AutoConfig", "AutoModel", "AutoProcessor"}
    assert str(folder.parent) not in json.dumps(config)
