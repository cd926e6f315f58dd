"""What every test may use: the shared folder with upstream's files, where there is one."""

import os
import signal
from pathlib import Path

import pytest

# A shell's background jobs ignore SIGINT, and what they start inherits that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by TIKTALKCOREF_SHARED (upstream's annotation files, a small backbone)."""
    folder = os.environ.get("TIKTALKCOREF_SHARED")
    if not folder:
        pytest.skip("needs TIKTALKCOREF_SHARED: the folder with upstream's annotation files and a small backbone")
    return Path(folder)


@pytest.fixture(scope="session")
def upstream(shared: Path) -> Path:
    """Upstream's published annotation files."""
    return shared / "upstream"


@pytest.fixture(scope="session")
def backbone(shared: Path) -> Path:
    """The small Chinese-capable BERT."""
    return shared / "backbones" / "me5-small-zh-char"


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A BERT tokenizer of a few dozen characters; anything else is [UNK]."""
    from transformers import BertTokenizer

    specials, pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], ["a", "##b", "##c", "i"]
    characters = dict.fromkeys("我你他她这那个男女生儿子妈妈好看爱吗了的是老师小明王ＡＢ😀👩")
    vocab = {token: number for number, token in enumerate([*specials, *characters, *pieces])}
    return BertTokenizer(vocab=vocab, do_lower_case=False)


@pytest.fixture(scope="session")
def build_tiny(tiny_tokenizer):
    """A function (vision=False, **config) that gives a small random model and its processor."""

    def build(vision: bool = False, seed: int = 0, **config):
        import torch
        from transformers import BertConfig

        from tiktalkcoref.modeling.configuration_tiktalkcoref import TikTalkCorefConfig
        from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
        from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        text = BertConfig(vocab_size=len(tiny_tokenizer), max_position_embeddings=128, **sizes)
        model_args = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 2}
        tower = {"architecture": "vit_tiny_patch16_224", "image_size": 32, "model_args": model_args}
        ids = {f"{name}_token_id": getattr(tiny_tokenizer, f"{name}_token_id") for name in ("cls", "sep", "pad")}
        heads = {"projection_dim": 16, "mention_hidden_size": 16, "pair_hidden_size": 16}
        windows = {"window_size": 96, "window_stride": 32, "max_title_length": 16}
        settings = {**ids, **heads, **windows, "use_title": True, **config}
        torch.manual_seed(seed)
        model = TikTalkCorefModel(
            TikTalkCorefConfig(text_config=text, vision_config=tower if vision else None, **settings)
        )
        return model.eval(), TikTalkCorefProcessor.from_config(model.config, tiny_tokenizer)

    return build


@pytest.fixture(scope="session")
def sample_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sample corpus with pictures, in upstream's format."""
    from tiktalkcoref.sample import write_sample

    return write_sample(tmp_path_factory.mktemp("corpus") / "sample", seed=0, dialogues=24)


@pytest.fixture(scope="session")
def dataset(sample_corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset without pictures."""
    from tiktalkcoref.corpus.files import find_files
    from tiktalkcoref.hub.prepare import prepare

    return prepare(find_files(sample_corpus), tmp_path_factory.mktemp("prepared") / "tiktalkcoref")


@pytest.fixture(scope="session")
def tiny_model_folder(build_tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model saved with its processor; it finds mentions, if not the right ones."""
    folder = tmp_path_factory.mktemp("run") / "model"
    model, processor = build_tiny(vision=True, mention_threshold=0.05, max_mentions_per_character=1.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
