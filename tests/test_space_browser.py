"""The Space in a real browser: Debian's chromium, driven by playwright; the model is the sample's, trained here.

TIKTALKCOREF_SAMPLE_MODEL names a model of the recipe `sample` that is there already; AXE_CORE the file `axe.min.js` of
the npm package axe-core.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hub_server import LocalHub, client_environment
from PIL import Image
from space_serving import serving, wait_for
from tracking_scenes import cast_of, two_persons
from tracking_videos import render, write_video

from tiktalkcoref.hub.kinds import KINDS, Sources
from tiktalkcoref.space.examples import make_examples
from tiktalkcoref.space.inputs import read_chat

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
CHROMIUM = shutil.which("chromium")
HOSTILE = "<img src=x onerror=\"document.title='ran'\"><b>${document.title='ran'}{{this}}</b>"


@pytest.fixture(scope="module")
def sample_model(tmp_path_factory) -> Path:
    """A model that has learned the sample: which head is meant is no chance."""
    if named := os.environ.get("TIKTALKCOREF_SAMPLE_MODEL"):
        return Path(named)
    from tiktalkcoref.training.recipe import load_recipe
    from tiktalkcoref.training.train import train

    run = tmp_path_factory.mktemp("sample-run") / "run"
    train(load_recipe("sample", ["loop.epochs=10"]), run)
    return run


@pytest.fixture(scope="module")
def address(sample_model, tmp_path_factory):
    with serving(sample_model, tmp_path_factory.mktemp("space")) as (url, _):
        yield url


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs the browser: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """A function that opens the page; at the end: nothing else was asked, nothing of the page failed."""
    contexts, asked, failed = [], [], []

    def open_page(query="", width=1280, locale="en-US", **options):
        context = browser.new_context(viewport={"width": width, "height": 1000}, locale=locale, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # the machine may be busy
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(f"{address}/{query}")
        page.wait_for_selector("[data-example=long]")
        page.wait_for_selector("#run")
        page.wait_for_function("() => document.documentElement.lang !== ''")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()
    assert failed == []


def answered(page) -> dict:
    """Wait for the result; what the download holds."""
    page.wait_for_function("() => /Done|完成/.test(document.querySelector('#status')?.innerText || '')")
    with page.expect_download() as download:
        page.click("#result .ttc-footer button")
    return json.loads(Path(download.value.path()).read_text(encoding="utf-8"))


def write(page, chat: str) -> None:
    """Paste a chat into the first line, as Ctrl+V does."""
    before = sum(bool(words) for _, words in rows(page))
    page.locator("#chat .ttc-text").first.evaluate(
        """(field, text) => {
          const data = new DataTransfer();
          data.setData("text/plain", text + "\\n");
          field.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
        }""",
        chat,
    )
    page.wait_for_function(
        "n => [...document.querySelectorAll('#chat .ttc-text')].filter(field => field.value).length === n",
        arg=before + len(chat.splitlines()),
    )


def rows(page) -> list[list[str]]:
    """[speaker, words] of each line."""
    return page.locator("#chat li").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('input, textarea')].map(field => field.value))"
    )


def fill(page, field: str, text: str) -> None:
    page.fill(f"#{field} textarea, #{field} input", text)


def run(page) -> None:
    page.click("#run")


def clear(page) -> None:
    page.click("#clear")
    page.wait_for_function("() => [...document.querySelectorAll('#chat .ttc-text')].every(field => !field.value)")


def refused(page, field: str) -> str:
    page.wait_for_selector(f"#note-{field} [role=alert] p:not([hidden])")
    return page.inner_text(f"#note-{field}")


def findings(page) -> list[str]:
    axe = os.environ.get("AXE_CORE")
    if not axe:
        pytest.skip("needs AXE_CORE: the file axe.min.js of `npm pack axe-core`")
    page.add_script_tag(path=axe)
    found = page.evaluate("() => axe.run()")["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in ("serious", "critical")]


def test_an_example_shows_mentions_in_colour_and_the_right_heads(open_page, tmp_path):
    example = next(example for example in make_examples(tmp_path) if example.name == "two-people")
    page = open_page()
    page.click("[data-example=two-people]")
    result = answered(page)
    assert result["sentences"] == read_chat(example.chat)[0]
    expected = {tuple(cluster): head for cluster, head in example.links.items()}
    found = {
        tuple(m["text"] for m in c["mentions"]): c["region"] for c in result["clusters"] if c["region"] is not None
    }
    assert found == expected
    assert len(expected) == 2

    for number, cluster in enumerate(result["clusters"]):
        mentions = page.locator(f"#result mark[data-c='{number}']")
        assert mentions.count() == len(cluster["mentions"])
        mention = mentions.first
        colour = mention.evaluate("node => getComputedStyle(node).borderBottomColor")
        if (head := cluster["region"]) is not None:
            for place in (".ttc-box", ".ttc-head"):  # one colour in words, frame and crops
                there = page.locator(f"#result {place}[data-head='{head}']")
                assert there.evaluate("node => getComputedStyle(node).borderTopColor") == colour
            mention.hover()
            assert "ttc-on" in page.get_attribute(f"#result .ttc-box[data-head='{head}']", "class")
            assert page.inner_text("#result .ttc-detail h3 span:last-child") in [m["text"] for m in cluster["mentions"]]
            assert page.locator("#result .ttc-ranking li").count() == len(example.boxes) + 1
    assert page.get_attribute("#result .ttc-footer a", "href") == "?example=two-people"


def test_the_address_of_an_example_opens_it_with_its_result(open_page):
    page = open_page("?example=absent&lang=zh")
    result = answered(page)
    assert any(cluster["region"] is None for cluster in result["clusters"])
    assert "画面里没有" in page.inner_text("#result .ttc-people")


def test_chinese_and_english_by_the_browser_and_by_choice(open_page):
    page = open_page(locale="zh-CN")
    page.wait_for_function("() => document.querySelector('#run').innerText === '看看谁是谁'")
    assert page.evaluate("() => document.documentElement.lang") == "zh-CN"
    page.click("[data-example=text-only]")
    page.wait_for_function("() => document.querySelector('#result').innerText.includes('说的是谁')")
    page.click("#language label:has-text('English')")
    page.wait_for_function("() => document.querySelector('#run').innerText === 'Find who is who'")
    assert "Who is meant" in page.inner_text("#result")
    assert "Nested" not in page.inner_text("#examples")
    assert "A long dialogue" in page.inner_text("#examples")


def test_lines_are_added_and_removed_and_a_chat_is_pasted(open_page):
    page = open_page()
    assert rows(page) == [["A", ""], ["B", ""]]
    page.fill("#chat .ttc-text >> nth=0", "我妈妈来了")
    page.click("#chat .ttc-add")
    page.keyboard.insert_text("谁的妈妈")
    assert rows(page) == [["A", "我妈妈来了"], ["B", ""], ["A", "谁的妈妈"]]
    page.click("[aria-label='Remove line 2']")
    assert rows(page) == [["A", "我妈妈来了"], ["A", "谁的妈妈"]]
    page.fill("[aria-label='Speaker 2']", "丙")
    write(page, "甲：你好\n在吗\n乙: 再见")  # after the line that it is pasted into
    assert rows(page) == [["A", "我妈妈来了"], ["甲", "你好"], ["甲", "在吗"], ["乙", "再见"], ["丙", "谁的妈妈"]]
    run(page)
    assert answered(page)["sentences"] == ["我妈妈来了", "你好", "在吗", "再见", "谁的妈妈"]
    assert page.locator("#result .ttc-speaker").all_inner_texts() == ["A", "甲", "甲", "乙", "丙"]
    for _ in range(5):
        page.click("[aria-label='Remove line 1']")
    assert rows(page) == [["A", ""]]
    clear(page)
    page.wait_for_function("() => document.querySelectorAll('#chat li').length === 2")


def test_boxes_are_drawn_on_the_frame_and_coloured_in_the_result(open_page):
    page = open_page()
    page.click("[data-example=two-people]")
    before = answered(page)
    page.wait_for_selector("#editor .ttc-box >> nth=1")
    written = page.input_value("#boxes textarea")
    page.click("[aria-label='Remove the box of head 1']")
    page.wait_for_function(
        "text => document.querySelector('#boxes textarea').value === text", arg=written.partition("\n")[2]
    )
    page.fill("#boxes textarea", "")
    page.wait_for_function("() => !document.querySelector('#editor .ttc-box')")
    area = page.locator("#editor img").bounding_box()
    frame = page.evaluate(
        "() => [...document.querySelectorAll('#editor img')].map(i => [i.naturalWidth, i.naturalHeight])"
    )[0]
    boxes = [[int(value) for value in line.split(", ")] for line in written.split("\n")]
    for x1, y1, x2, y2 in boxes:
        page.mouse.move(area["x"] + x1 * area["width"] / frame[0], area["y"] + y1 * area["height"] / frame[1])
        page.mouse.down()
        page.mouse.move(area["x"] + x2 * area["width"] / frame[0], area["y"] + y2 * area["height"] / frame[1], steps=3)
        page.mouse.up()
    page.wait_for_function(
        "count => document.querySelector('#boxes textarea').value.split('\\n').length === count", arg=len(boxes)
    )
    drawn = [[int(value) for value in line.split(", ")] for line in page.input_value("#boxes textarea").split("\n")]
    assert np.abs(np.subtract(drawn, boxes)).max() <= 2
    run(page)
    page.wait_for_function("count => document.querySelectorAll('#result .ttc-box').length === count", arg=len(boxes))
    after = answered(page)
    assert [c["region"] for c in after["clusters"]] == [c["region"] for c in before["clusters"]]
    linked = {c["region"] for c in after["clusters"]} - {None}
    assert page.locator("#result .ttc-box:not(.ttc-nobody)").count() == len(linked) == 2


def test_heads_are_looked_for_in_a_frame_without_boxes(open_page, shared, tmp_path):
    pytest.importorskip("cv2", reason="needs the extra tracking")
    one, two = (
        Image.open(shared / "faces" / name).convert("RGB").resize((400, 480)) for name in ("obama.jpg", "biden.jpg")
    )
    both = Image.new("RGB", (800, 480))
    both.paste(one, (0, 0))
    both.paste(two, (400, 0))
    both.save(tmp_path / "both.jpg")
    Image.new("RGB", (400, 300), "gray").save(tmp_path / "nobody.png")
    page = open_page()
    page.set_input_files("#frame input[type=file]", str(tmp_path / "both.jpg"))
    page.wait_for_selector("#editor .ttc-box >> nth=1")
    left, right = (
        [int(value) for value in line.split(", ")] for line in page.input_value("#boxes textarea").split("\n")
    )
    assert left[2] <= 400 <= right[0]
    write(page, "那个男生笑起来真好看\n我也喜欢他")
    page.fill("#boxes textarea", "")  # whoever takes the boxes away gets them again
    run(page)
    result = answered(page)
    assert len(result["clusters"][0]["region_scores"]) == 2
    assert page.locator("#result .ttc-box").count() == 2
    clear(page)
    page.wait_for_function("() => !document.querySelector('#editor img')")
    page.set_input_files("#frame input[type=file]", str(tmp_path / "nobody.png"))
    page.wait_for_function("() => /No head was found/.test(document.querySelector('#note-frame').innerText)")
    write(page, "他真好看")
    run(page)
    assert "say where the heads are" in refused(page, "frame")


def test_hostile_text_in_every_place_stays_text(open_page, tmp_path):
    bad = tmp_path / "<img src=x onerror=document.title=1>.png"
    bad.write_text("no picture")
    page = open_page()
    title = page.title()
    write(page, f"<b>{{{{1}}}}：{HOSTILE}\n<i>乙：戴红帽子的女生跳得真好{HOSTILE}")  # words and speakers
    fill(page, "title", HOSTILE)
    run(page)
    answered(page)
    for text in (HOSTILE, "<i>乙"):
        assert text in page.inner_text("#result")
    assert page.locator("#result b, #result i, #result img[src=x]").count() == 0
    page.click("#tab-pictures-button")
    page.set_input_files("#pictures input[type=file]", str(bad))  # a file's name, in the list and in the message
    page.wait_for_function("() => document.querySelector('#pictures').innerText.includes('onerror')")
    run(page)
    assert "img src=x onerror" in refused(page, "pictures")  # Gradio takes < and > from names
    clear(page)
    page.click("[data-example=two-people]")
    answered(page)
    page.click("#tab-frame-button")
    fill(page, "boxes", HOSTILE)  # a box, in the message
    run(page)
    assert HOSTILE[:30] in refused(page, "frame")
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == title


def test_bad_files_and_boxes_are_refused_beside_their_fields_and_the_app_lives_on(open_page, tmp_path):
    (tmp_path / "words.mp4").write_text("no video at all")
    (tmp_path / "words.jpg").write_text("no picture at all")
    page = open_page()
    run(page)
    assert "at least one line" in refused(page, "chat")
    write(page, "甲：戴红帽子的女生跳得真好")
    page.click("#tab-pictures-button")
    page.set_input_files("#pictures input[type=file]", str(tmp_path / "words.jpg"))
    page.wait_for_function("() => document.querySelector('#pictures').innerText.includes('words')")
    run(page)
    assert "cannot be read as a picture" in refused(page, "pictures")
    clear(page)
    write(page, "甲：戴红帽子的女生跳得真好")
    run(page)
    assert answered(page)["text_only"]


def test_a_phone_in_the_dark_scrolls_down_only_and_can_be_read(open_page):
    page = open_page("?__theme=dark", width=390)
    assert "dark" in page.get_attribute("body", "class")
    for example in ("long", "nested"):
        page.click(f"[data-example={example}]")
        page.wait_for_function(f"() => document.querySelector('#result a')?.href.includes('{example}')")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, theme, width):
    page = open_page(f"?__theme={theme}&example=nested", width=width)
    answered(page)
    assert findings(page) == []
    page.click("#tab-video-button")
    clear(page)
    run(page)
    refused(page, "chat")
    assert findings(page) == []


def test_the_keyboard_is_enough(open_page):
    page = open_page()

    def tab_to(wanted: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(f"() => !!document.activeElement.closest({wanted!r})"):
                return
        raise AssertionError(f"{wanted} cannot be reached")

    tab_to("#chat .ttc-text")
    page.keyboard.insert_text("戴红帽子的女生跳得真好")
    page.keyboard.press("Enter")  # a line below
    page.keyboard.insert_text("我喜欢那个戴大墨镜的女生")
    tab_to("#chat .ttc-remove")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.value") == "B"  # the empty line that was there
    page.keyboard.press("Tab")
    page.keyboard.press("Backspace")  # an empty line goes
    assert [words for _, words in rows(page)] == ["戴红帽子的女生跳得真好", "我喜欢那个戴大墨镜的女生"]
    tab_to("#run")
    page.keyboard.press("Enter")
    result = answered(page)
    page.locator("#clear button, #clear").first.focus()
    tab_to("mark[data-c='1']")
    assert "ttc-on" in page.get_attribute("#result button[data-c='1']", "class")
    second = [mention["text"] for mention in result["clusters"][1]["mentions"]]
    assert page.inner_text("#result .ttc-detail h3 span:last-child") in second


@pytest.fixture(scope="module")
def clip(shared, tmp_path_factory) -> Path:
    """Ten seconds of 720p: two persons side by side, one alone, both again."""
    pytest.importorskip("av", reason="needs the extra tracking")
    shots = [replace(shot, seconds=10 / 3) for shot in two_persons(cast_of(shared / "faces"))]
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", render(shots)[0])


def test_a_video_shows_its_persons_on_a_timeline(open_page, clip, tmp_path):
    page = open_page()
    page.click("#tab-video-button")
    for n in range(2):  # the first time loads the networks
        write(page, "甲：那个男生笑起来真好看\n乙：我也喜欢他" + "！" * n)
        page.set_input_files("#video input[type=file]", str(clip))
        page.wait_for_function("() => document.querySelector('#video').innerText.includes('clip')")
        started = time.perf_counter()
        run(page)
        page.wait_for_function("() => /Detecting/.test(document.querySelector('#status').innerText)")
        page.wait_for_selector("#result .ttc-timeline", timeout=60_000)
        print(f"10 s of 720p: {time.perf_counter() - started:.1f} s")
        result = answered(page)
        assert len(result["entities"]) == 2
        assert len(result["clusters"][0]["region_scores"]) == 2
        rows = page.locator("#result .ttc-timeline .ttc-row")
        assert [rows.nth(i).locator(".ttc-track span").count() for i in range(2)] == [
            len(entity["tracks"]) for entity in result["entities"]
        ]
        clear(page)
    (tmp_path / "words.mp4").write_text("no video at all")
    for path, reason in (
        (tmp_path / "words.mp4", "cannot be used"),
        (_long(tmp_path / "long.mp4"), "more than the limit"),
    ):
        write(page, "他真好看")
        page.set_input_files("#video input[type=file]", str(path))
        page.wait_for_function("name => document.querySelector('#video').innerText.includes(name)", arg=path.stem)
        run(page)
        assert reason in refused(page, "video")
        clear(page)


def test_a_run_can_be_stopped(open_page, clip):
    page = open_page()
    page.click("#tab-video-button")
    write(page, "他真好看")
    page.set_input_files("#video input[type=file]", str(clip))
    page.wait_for_function("() => document.querySelector('#video').innerText.includes('clip')")
    run(page)
    page.wait_for_function("() => /Detecting/.test(document.querySelector('#status').innerText)")
    page.click("#stop")
    page.wait_for_function("() => document.querySelector('#status').innerText.includes('Stopped')")
    page.click("[data-example=two-people]")  # the next one does not wait for the video's end
    answered(page)
    assert page.locator("#result .ttc-timeline").count() == 0


def test_who_waits_sees_the_place_in_the_queue(open_page, clip):
    first, second = open_page(), open_page()
    first.click("#tab-video-button")
    write(first, "他真好看")
    first.set_input_files("#video input[type=file]", str(clip))
    first.wait_for_function("() => document.querySelector('#video').innerText.includes('clip')")
    run(first)
    first.wait_for_function("() => /Detecting/.test(document.querySelector('#status').innerText)")
    second.click("[data-example=two-people]")
    second.wait_for_function("() => /queue: 1.1/.test(document.querySelector('#status').innerText)")
    first.click("#stop")
    answered(second)


def _long(path: Path) -> Path:
    """More seconds than the limit, two small pictures a second."""
    return write_video(path, [np.zeros((64, 64, 3), np.uint8)] * 130, rate=2)


def test_a_model_that_cannot_be_loaded_is_told_on_the_page(browser, tmp_path):
    with serving(tmp_path / "nowhere", tmp_path / "home") as (url, _):
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("#problem [role=alert]")
        assert "could not be loaded" in page.inner_text("#problem")
        page.fill("#chat .ttc-text >> nth=0", "你好")
        page.click("#run")
        page.wait_for_function("() => document.querySelector('#status').innerText.includes('could not be loaded')")
        page.close()


def test_the_page_of_the_metric_scores_its_example(browser, tmp_path):
    """The metric's Space, started from the folder that is pushed."""
    folder = tmp_path / "metric"
    folder.mkdir()
    KINDS["metric"].build(Sources(), {"metric": "lab/our_metric"}, folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with LocalHub() as hub, (tmp_path / "log").open("w") as log:
        environment = client_environment(hub, tmp_path) | {
            "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SERVER_PORT": address.rpartition(":")[2],
            "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        process = subprocess.Popen([sys.executable, "app.py"], env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(process, tmp_path / "log")
            page, asked = browser.new_page(), []
            page.set_default_timeout(60_000)
            page.on("request", lambda request: asked.append(request.url))
            page.goto(address)
            page.click("button:has-text('Score')")
            page.wait_for_function("() => /conll_f1\"/.test(document.querySelector('.cm-content')?.innerText)")
            title = page.title()
            page.locator("textarea").first.fill(json.dumps([{"clusters": HOSTILE}]))
            page.click("button:has-text('Score')")
            page.wait_for_function(
                "() => [...document.querySelectorAll('textarea')].some(t => /expected/.test(t.value))"
            )
            assert page.locator("img[src=x]").count() == 0
            assert page.title() == title
            page.close()
            assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()
        finally:
            process.terminate()
            process.wait(30)
    assert not (tmp_path / "blocked").exists()
