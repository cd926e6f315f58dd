"""A dialogue with a video: through the pipeline and the handler, with persons that are coloured discs."""

import base64
import json
from pathlib import Path

import pytest
from PIL import Image
from tracking_fakes import ColourEmbedder, DiscHeads, discs, standing, walking
from transformers.dynamic_module_utils import get_imports

pytest.importorskip("av")
pytest.importorskip("cv2")
pytest.importorskip("scenedetect")
from tracking_videos import write_video

from tiktalkcoref.modeling import handler, video_tiktalkcoref
from tiktalkcoref.modeling.handler import BadRequestError, EndpointHandler
from tiktalkcoref.modeling.inputs_tiktalkcoref import DialogueError
from tiktalkcoref.modeling.pipeline_tiktalkcoref import TikTalkCorefPipeline
from tiktalkcoref.tracking.settings import Settings
from tiktalkcoref.tracking.tracker import VideoTracker

TEXT = {"sentences": ["这个男生爱她吗", "她好看"], "speakers": ["A", "B"]}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = discs({"red": walking(40, 280, 50), "blue": standing(160, 50)}, 50)
    pictures += discs({"blue": standing(250, 180)}, 25, grey=215)
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures, crf=12)


@pytest.fixture
def resolver(build_tiny) -> TikTalkCorefPipeline:
    model, processor = build_tiny(vision=True, mention_threshold=0.05, max_mentions_per_character=1.0)
    resolver = TikTalkCorefPipeline(model=model, processor=processor, device="cpu")
    resolver.videos.track = VideoTracker(Settings(), heads=DiscHeads(), embedder=ColourEmbedder())
    return resolver


def test_the_persons_of_the_video_are_the_regions(resolver, clip) -> None:
    result = resolver({**TEXT, "video": clip})
    blue, red = result["entities"]
    assert set(blue) == {"id", "tracks", "crop", "frame", "time", "box"}
    assert [track["shot"] for track in blue["tracks"]] == [0, 1]
    assert [track["shot"] for track in red["tracks"]] == [0]
    middle = red["crop"].getpixel((red["crop"].width // 2, red["crop"].height // 2))
    assert middle[0] > 180
    assert max(middle[1:]) < 80
    assert result["clusters"]
    for cluster in result["clusters"]:
        assert len(cluster["region_scores"]) == 2
        assert cluster["region"] in (None, 0, 1)


def test_the_same_as_with_the_crops_given(resolver, clip) -> None:
    from tiktalkcoref.tracking import candidates

    pictures, entities = candidates(resolver.videos.track(clip))
    assert all(len(group) >= 3 for group in pictures)
    expected = resolver({**TEXT, "regions": pictures})
    found = resolver({**TEXT, "video": str(clip)})
    assert found["clusters"] == expected["clusters"]
    assert [entity["id"] for entity in found["entities"]] == [entity["id"] for entity in entities]


def test_some_of_a_list_have_videos(resolver, clip, tmp_path) -> None:
    Image.fromarray(discs({"green": standing(100)}, 1)[0]).save(tmp_path / "0.png")
    results = resolver([TEXT, {**TEXT, "video": tmp_path}, {**TEXT, "video": clip}], batch_size=2)
    assert "entities" not in results[0]
    assert [len(result["entities"]) for result in results[1:]] == [1, 2]


def test_nobody_in_it(resolver, tmp_path) -> None:
    Image.fromarray(discs({}, 1)[0]).save(tmp_path / "0.png")
    result = resolver({**TEXT, "video": tmp_path})
    assert result["entities"] == []
    assert result["text_only"] is True


def test_what_cannot_be_read(resolver, tmp_path) -> None:
    with pytest.raises(DialogueError, match=r"^dialogue: video: .*a\.mp4 does not exist"):
        resolver({**TEXT, "video": tmp_path / "a.mp4"})
    with pytest.raises(DialogueError, match=r"dialogue 2: video: https?:.* is a URL"):
        resolver([TEXT, {**TEXT, "video": "https://example.org/a.mp4"}])
    with pytest.raises(DialogueError, match="both video and regions are given"):
        resolver({**TEXT, "video": tmp_path, "regions": [Image.new("RGB", (9, 9))]})


def test_without_the_extra(resolver, clip, monkeypatch) -> None:
    import sys

    resolver.videos.track = None
    monkeypatch.setitem(sys.modules, "tiktalkcoref.tracking", None)
    with pytest.raises(DialogueError, match=r"pip install 'tiktalkcoref\[tracking\]'"):
        resolver({**TEXT, "video": clip})
    assert resolver(TEXT)["clusters"]


def test_transformers_asks_for_no_library_of_the_extra() -> None:
    for module in (video_tiktalkcoref, handler):
        assert not {"tiktalkcoref", "cv2", "av", "scenedetect"} & set(get_imports(module.__file__))


@pytest.fixture
def endpoint(resolver, monkeypatch) -> EndpointHandler:
    monkeypatch.setattr(handler, "pipeline", lambda *_, **__: resolver)
    return EndpointHandler("")


def test_the_handler_takes_a_video(endpoint, resolver, clip) -> None:
    video = base64.b64encode(clip.read_bytes()).decode()
    answer = endpoint({"inputs": {**TEXT, "video": video}})
    expected = resolver({**TEXT, "video": clip})
    assert answer["clusters"] == expected["clusters"]
    assert json.loads(json.dumps(answer)) == answer
    for entity, original in zip(answer["entities"], expected["entities"], strict=True):
        assert base64.b64decode(entity["crop"]).startswith(b"\x89PNG")
        assert entity["tracks"] == original["tracks"]
    assert endpoint({"inputs": {**TEXT, "video": f"data:video/mp4;base64,{video}"}}) == answer
    assert resolver.videos.options["max_seconds"] == 180


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (3, "inputs.video: found a int, expected the video's file as a base64 string"),
        ("https://example.org/a.mp4", "inputs.video: found an address"),
        ("/etc/passwd!", "inputs.video: not base64"),
        ("A" * 27_000_000, "larger than 20,000,000 bytes"),
        (base64.b64encode(b"no video").decode(), "inputs.video cannot be opened as a video"),
    ],
)
def test_the_handler_refuses(endpoint, video, message) -> None:
    with pytest.raises(BadRequestError) as caught:
        endpoint({"inputs": {**TEXT, "video": video}})
    assert message in str(caught.value)
    assert "/tmp" not in str(caught.value)
