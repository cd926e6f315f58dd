"""The model with the small Chinese backbone on the real corpus: invariance to batching, memory of long dialogues."""

import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tiktalkcoref.corpus.files import find_files
from tiktalkcoref.corpus.reading import read_corpus
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

LONG = """
    import re, sys
    import torch
    from transformers import AutoConfig, AutoTokenizer
    from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
    from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

    torch.manual_seed(0)
    torch.set_num_threads(1)
    backbone, count = sys.argv[1], int(sys.argv[2])
    dense = sys.argv[3] == "dense"
    config = AutoConfig.from_pretrained(backbone, num_hidden_layers=1)  # its layers take time, not memory
    model = TikTalkCorefModel.from_encoders(config if dense else backbone)
    processor = TikTalkCorefProcessor.from_config(model.config, AutoTokenizer.from_pretrained(backbone))
    text = "那个老师还记得她的学生吗他们周末一起去看比赛了你呢"
    utterances = [(text * 3)[i % 20 : i % 20 + 25] for i in range(count // 25)]
    batch = processor({"sentences": utterances})
    mentions = None
    if dense:  # as many mentions as may be kept
        mentions = [[(start, start + 1) for start in range(0, count - 1, 2)]]
    found = model.predict(batch, mentions=mentions)[0]["clusters"]
    status = open("/proc/self/status").read()  # ru_maxrss would count the parent process too
    print(sum(map(len, found)), int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_batches_do_not_matter_on_the_real_corpus(upstream, backbone):
    rows = list(read_corpus(find_files(upstream, annotations=upstream / "annotations.8d346bf.jsonl")))
    dialogues = [
        {"sentences": row["sentences"], "speakers": [ids[0] for ids in row["speaker_ids"]], "clusters": row["clusters"]}
        for row in rows
    ]
    torch.manual_seed(0)
    model = TikTalkCorefModel.from_encoders(backbone)
    processor = TikTalkCorefProcessor.from_config(model.config, AutoTokenizer.from_pretrained(backbone))
    train(model, processor, dialogues[:64])
    results = {}
    for size in (1, 8, 32):
        batches = (dialogues[low : low + size] for low in range(0, len(dialogues), size))
        results[size] = [result["clusters"] for batch in batches for result in model.predict(processor(batch))]
    assert sum(map(len, results[1])) > len(dialogues) / 4
    assert results[1] == results[8] == results[32]


def train(model: TikTalkCorefModel, processor: TikTalkCorefProcessor, dialogues: list[dict]) -> None:
    """A few steps, until mentions are found."""
    groups = model.parameter_groups()
    optimizer = torch.optim.AdamW(
        [{"params": groups["text_encoder"], "lr": 1e-4}, {"params": groups["heads"], "lr": 2e-3}]
    )
    model.train()
    for _ in range(6):
        for low in range(0, len(dialogues), 16):
            model(**processor(dialogues[low : low + 16], labels=True)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mentions", ["few", "dense"])
def test_memory_grows_linearly(backbone, tmp_path, mentions):
    script = tmp_path / "long.py"
    script.write_text(textwrap.dedent(LONG))
    peaks = {count: peak_megabytes(script, backbone, count, mentions) for count in (10_000, 20_000)}
    assert peaks[20_000] < 4096
    assert peaks[20_000] <= 2.5 * peaks[10_000]


def peak_megabytes(script: Path, backbone: Path, count: int, mentions: str) -> int:
    """Peak memory of a process that predicts one dialogue of so many characters."""
    limit = 4 * 2**30
    done = subprocess.run(
        [sys.executable, str(script), str(backbone), str(count), mentions],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found, megabytes = map(int, done.stdout.split())
    print(f"{count} characters, {found} mentions: {megabytes} MB")
    return megabytes
