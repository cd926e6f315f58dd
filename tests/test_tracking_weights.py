"""Weights: from a folder, the Hub's cache or the Hub; never unchecked."""

import hashlib
from pathlib import Path

import pytest

from tiktalkcoref.tracking import weights
from tiktalkcoref.tracking.weights import SFACE, YUNET, Weights, WeightsError, read_weights

CONTENT = b"the weights of a network"
PUBLISHED = Weights("org/repo", "net.onnx", hashlib.sha256(CONTENT).hexdigest())


def test_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(CONTENT)
    assert read_weights(PUBLISHED, tmp_path).tobytes() == CONTENT


def test_missing_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        read_weights(PUBLISHED, tmp_path)
    for part in (str(tmp_path / "net.onnx"), PUBLISHED.sha256, "https://huggingface.co/org/repo", "--weights"):
        assert part in str(caught.value)


def test_damaged(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=r"it is damaged or another version; remove it") as caught:
        read_weights(PUBLISHED, tmp_path)
    assert PUBLISHED.sha256 in str(caught.value)


def test_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"could not be downloaded from the Hub \(.*net\.onnx \(sha256"):
        read_weights(PUBLISHED)


def test_downloaded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cache of the Hub's client, in its own layout, is looked at first."""
    import huggingface_hub

    (tmp_path / "net.onnx").write_bytes(CONTENT)
    asked: list[tuple] = []
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *a, **k: asked.append((a, k)) or str(tmp_path / "net.onnx")
    )
    read_weights(PUBLISHED)
    assert asked == [(("org/repo", "net.onnx"), {"revision": "main"})]
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "net.onnx"))
    read_weights(PUBLISHED)
    assert len(asked) == 1


def test_the_published_sums(shared: Path) -> None:
    for published in (YUNET, SFACE):
        assert len(read_weights(published, shared / "weights")) == (shared / "weights" / published.file).stat().st_size
    assert weights.YUNET.repo_id == "opencv/face_detection_yunet"
