"""A damaged model folder is refused with one message, before anything is built: by the check and by every door."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import pipeline

from tiktalkcoref.evaluation.evaluate import load_model
from tiktalkcoref.modeling.checks_tiktalkcoref import ModelFolderError, read_header
from tiktalkcoref.modeling.folder_tiktalkcoref import check_folder
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 112\n"


@pytest.fixture
def folder(tiny_model_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def edit(name: str, change):
    """A damage that changes the JSON object in a file."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        change(content)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return damage


def text(**fields):
    return edit("config.json", lambda config: config["text_config"].update(fields))


def top(**fields):
    return edit("config.json", lambda config: config.update(fields))


def write(name: str, content: str | bytes):
    """A damage that puts other content into a file."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def claim(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes((2**40).to_bytes(8, "little") + path.read_bytes()[8:])


def drop(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["mention_head.biaffine.weight"]
    save_file(weights, folder / "model.safetensors")


def reshape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["speaker_embedding.weight"] = torch.zeros(3, 5)
    save_file(weights, folder / "model.safetensors")


def pipe(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def swap_vocabulary(tokenizer: dict) -> None:
    tokenizer["model"]["vocab"]["龘"] = 70_000


WEIGHTS = {
    "cut": (cut, r"model.safetensors: the header describes .* bytes, the file has .*: it is cut short"),
    "empty": (write("model.safetensors", ""), r"model.safetensors is empty; copy or download it again"),
    "pointer": (write("model.safetensors", POINTER), r"model.safetensors is a Git LFS pointer.*git lfs pull"),
    "claim": (claim, r"the header claims 1,099,511,627,776 bytes, the file has"),
    "short": (write("model.safetensors", b"12345"), r"the header claims .* the file has 5"),
    "noise": (write("model.safetensors", bytes([9, 0, 0, 0, 0, 0, 0, 0]) + b"not json!"), r"the header is damaged"),
    "list": (write("model.safetensors", bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"[]"), r"the header is damaged"),
    "nothing": (remove("model.safetensors"), r"has no weights: expected model.safetensors. Save the model there"),
    "pickle": (pickle, r"has no weights.*pytorch_model.bin is not read, since pickles can run code"),
    "pipe": (pipe, r"model.safetensors is no regular file"),
    "shard": (shard, r"has no model-00001-of-00002.safetensors"),
    "dropped": (drop, r"the weights lack 1 tensors .*\(mention_head.biaffine.weight\); random ones would take"),
    "reshaped": (reshape, r"hold speaker_embedding.weight as \[3, 5\], config.json describes it as \[9, 32\]"),
}
CONFIG = {
    "no config": (remove("config.json"), r"has no config.json; name a folder that save_pretrained wrote"),
    "empty config": (write("config.json", ""), r"config.json is empty"),
    "no JSON": (write("config.json", "{"), r"config.json is no JSON"),
    "nested": (write("config.json", "[" * 200_000), r"config.json is no JSON"),
    "a list": (write("config.json", "[1]"), r"config.json holds list, expected an object"),
    "another model": (top(model_type="bert"), r"a model of type 'bert', expected 'tiktalkcoref'"),
    "layers below zero": (text(num_hidden_layers=-1), r"num_hidden_layers is -1: expected at least 0"),
    "layers without end": (text(num_hidden_layers=10**9), r"num_hidden_layers is 1,000,000,000.*at most 1,000"),
    "more layers": (text(num_hidden_layers=900), r"the weights lack \d+ tensors"),
    "layers as text": (text(num_hidden_layers="2"), r"'num_hidden_layers' expected int, got str"),
    "labels without end": (text(num_labels=10**9), r"num_labels is 1,000,000,000"),
    "our labels without end": (top(num_labels=10**9), r"num_labels is 1,000,000,000"),
    "huge": (text(hidden_size=10**9), r"hidden_size is 1,000,000,000: expected at least 0 and at most 10,000,000"),
    "too wide": (text(hidden_size=64), r"as \[16, 64\], config.json describes it as \[16, 128\]"),
    "odd heads": (text(num_attention_heads=5), r"config.json describes a model that cannot be built"),
    "no activation": (text(hidden_act="zzz"), r"config.json describes a model that cannot be built"),
    "not a number": (text(hidden_dropout_prob=float("nan")), r"hidden_dropout_prob is nan: expected a finite number"),
    "speakers without end": (top(max_speakers=10**9), r"max_speakers is 1000000000: expected a whole number"),
    "type of threshold": (top(mention_threshold="half"), r"mention_threshold is 'half': expected a probability"),
    "type of mean": (edit("config.json", lambda c: c["vision_config"].update(image_mean=5)), r"image_mean is 5"),
    "huge picture": (edit("config.json", lambda c: c["vision_config"].update(image_size=10**9)), r"image_size is 1"),
    "deep tower": (
        edit("config.json", lambda c: c["vision_config"]["model_args"].update(depth=10**9)),
        r"model_args.depth is 1,000,000,000",
    ),
    "text_config a list": (top(text_config=[1]), r"text_config is \[1\]: expected a config object or its dict"),
    "no architecture": (text(model_type="bort2"), r"model type 'bort2'"),
}
BESIDE = {
    "no processor": (remove("processor_config.json"), r"has no processor_config.json: save the processor there"),
    "no tokenizer": (remove("tokenizer.json"), r"has no tokenizer \(tokenizer.json\)"),
    "empty tokenizer": (write("tokenizer.json", ""), r"tokenizer.json is empty"),
    "tokenizer pointer": (write("tokenizer.json", POINTER), r"tokenizer.json is a Git LFS pointer"),
    "no words": (edit("tokenizer.json", lambda t: t["model"].update(vocab={"[UNK]": 1})), r"knows no character"),
    "another tokenizer": (edit("tokenizer.json", swap_vocabulary), r"numbers its words up to 70,000, the text encoder"),
    "syntax": (write("modeling_tiktalkcoref.py", "def f(:\n"), r"modeling_tiktalkcoref.py, line 1: no Python"),
    "zero bytes": (write("lexicon_tiktalkcoref.py", b"x = 1\n\0"), r"lexicon_tiktalkcoref.py.*: no Python"),
    "no code": (remove("processing_tiktalkcoref.py"), r"has no processing_tiktalkcoref.py, which config.json names"),
}


def refuse(door, folder: Path, message: str, kind: type = ModelFolderError) -> None:
    with pytest.raises(kind, match=f"(?s){message}") as caught:
        door(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_whole_folder_passes(folder):
    check_folder(folder)
    check_folder(str(folder))
    model, processor = load_model(folder)
    assert model.predict(processor({"sentences": ["我爱他"]}))
    shapes = read_header(folder / "model.safetensors")
    assert shapes == {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", [*WEIGHTS, *CONFIG])
def test_weights_and_configuration(folder, name):
    damage, message = {**WEIGHTS, **CONFIG}[name]
    damage(folder)
    for door in (check_folder, TikTalkCorefModel.from_pretrained):
        refuse(door, folder, message)
    refuse(load_model, folder, "config.json" if name == "no config" else message, ValueError)


@pytest.mark.parametrize("name", BESIDE)
def test_tokenizer_and_code(folder, name):
    damage, message = BESIDE[name]
    damage(folder)
    for door in (check_folder, load_model):
        refuse(door, folder, message)


def test_shards_are_read(folder, build_tiny):
    model, _ = build_tiny(vision=True)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    check_folder(folder)
    last = sorted(folder.glob("model-*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-1])
    refuse(check_folder, folder, rf"{last.name}: the header describes")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(folder, value):
    weights = load_file(folder / "model.safetensors")
    weights["clustering_head.coarse.weight"][0, 0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for door in (TikTalkCorefModel.from_pretrained, load_model):
        refuse(door, folder, r"the weights clustering_head.coarse.weight hold NaN or infinite numbers.*diverged")


def test_missing_weights_are_refused_by_the_pipeline(folder):
    drop(folder)
    with pytest.raises(ValueError, match="the weights lack 1 tensors"):
        pipeline("multimodal-coreference", model=str(folder), trust_remote_code=True, device="cpu")


def test_loading_that_looks_at_no_folder_refuses_missing_weights_too(folder):
    """As from the Hub: by what transformers reports."""
    weights = load_file(folder / "model.safetensors")
    del weights["mention_head.biaffine.weight"]
    save_file(weights, folder / "model.half.safetensors", metadata={"format": "pt"})
    refuse(lambda place: TikTalkCorefModel.from_pretrained(place, variant="half"), folder, "the weights lack 1 tensors")


def test_loading_info_is_still_given(folder):
    model, info = TikTalkCorefModel.from_pretrained(folder, output_loading_info=True)
    assert isinstance(model, TikTalkCorefModel)
    assert not info["missing_keys"]


def test_a_tokenizer_without_words_makes_no_processor(tiny_tokenizer):
    from transformers import BertTokenizer

    empty = BertTokenizer(vocab={token: number for number, token in enumerate(tiny_tokenizer.all_special_tokens)})
    with pytest.raises(ValueError, match="knows no word beside its special tokens"):
        TikTalkCorefProcessor(empty)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_size": "512"}, "window_size is '512': expected a whole number"),
        ({"image_size": 10**9}, "image_size is 1000000000: expected a whole number from 1 to 4,096"),
        ({"image_mean": 5}, "image_mean is 5: expected three numbers"),
        ({"image_std": [1, 0, 1]}, r"image_std is \[1, 0, 1\]"),
        ({"max_characters": None}, "max_characters is None"),
    ],
)
def test_wrong_settings_of_a_processor(tiny_tokenizer, settings, message):
    with pytest.raises(ValueError, match=message):
        TikTalkCorefProcessor(tiny_tokenizer, **settings)


def test_others_may_read_the_weights_where_the_umask_lets_them(build_tiny, tmp_path):
    model, processor = build_tiny()
    before = os.umask(0o022)
    try:
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o644}, modes
