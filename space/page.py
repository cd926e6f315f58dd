"""The page: its fields, what happens when they are used, and the endpoints of the API. Import sets Gradio's switches.

The languages are the page's own: every label is set again when another one is chosen; the scripts of the components
read the language of the document.
"""

import html
import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: nothing is sent anywhere

import gradio as gr
from PIL import Image

from tiktalkcoref.files.errors import message_for_user

from .components import START, dialogue_rows, example_gallery, frame_editor, note, result_view
from .engine import Engine, candidates
from .examples import Example, make_examples
from .inputs import (
    LIMITS,
    InputError,
    Visit,
    detect_boxes,
    read_boxes,
    read_picture,
    read_rows,
    read_visit,
    split_chat,
    write_boxes,
)
from .texts import LANGUAGES, say
from .uploads import KEPT_SECONDS, Uploads, open_folder
from .video import People, find_people
from .view import FRAME, data_url, make_view, palette_css

logger = logging.getLogger(__name__)

FIELDS = ("chat", "pictures", "frame", "video")  # those that have a note beside them
QUEUE = 64  # requests that may wait
THUMBNAIL = 240  # px
Rows = list[list[str]]  # [speaker, words]
# The language of the browser, unless the address says ?lang=; and the example that the address names. Gradio names its
# upload buttons otherwise than they read, which those who speak to their browser cannot guess.
ARRIVE = """() => {
  const rename = () => document.querySelectorAll(".upload-container[aria-label]").forEach(
    (button) => button.removeAttribute("aria-label"));
  new MutationObserver(rename).observe(document.body, { childList: true, subtree: true });
  rename();
  const asked = new URLSearchParams(location.search);
  const language = (asked.get("lang") || navigator.language || "en").startsWith("zh") ? "zh" : "en";
  return [language, asked.get("example") || ""];
}"""
SET_LANGUAGE = """(language) => {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  window.dispatchEvent(new Event("ttc-language"));
  return language;
}"""
# The frame shows the boxes that are written, and the other way round.
DRAW_BOXES = """(text, view) => view && {
  ...view,
  boxes: text.split("\\n").map((line) => (line.match(/-?\\d+/g) || []).map(Number)).filter((box) => box.length === 4),
}"""
WRITE_BOXES = """(view) => view.boxes.map((box) => box.join(", ")).join("\\n")"""


def launch(model: str, port: int | None = None, block: bool = True, host: str | None = None) -> Any:
    """Serve the page for a model (folder or Hub id); with `block` until it is stopped. Returns the page."""
    folder = open_folder()
    page = build(model, folder)
    page.queue(max_size=QUEUE, default_concurrency_limit=1)
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        css=(Path(__file__).parent / "page.css").read_text(encoding="utf-8") + palette_css(),
        theme=gr.themes.Base(
            primary_hue="blue", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["monospace"]
        ),
        max_file_size=f"{LIMITS.video_megabytes}mb",
        footer_links=[],
        run_history=False,
        show_error=False,
        quiet=True,
    )
    print(f"The demo is at {page.local_url}", flush=True)
    if block:
        page.block_thread()
    return page


def build(model: str, folder: Path) -> gr.Blocks:
    """The page; `folder` is where uploads and the examples' pictures lie."""
    engine, problem = _load(model)
    (folder / "examples").mkdir()
    examples = make_examples(folder / "examples")
    return _Page(engine, problem, {example.name: example for example in examples}, Uploads(folder)).blocks


def _load(model: str) -> tuple[Engine | None, str]:
    """The engine, or why there is none: the page says so instead of failing to start."""
    try:
        return Engine(model), ""
    except (ValueError, OSError) as error:
        return None, str(error)


class _Page:
    """The page of one engine."""

    def __init__(self, engine: Engine | None, problem: str, examples: dict[str, Example], uploads: Uploads) -> None:
        self.engine, self.problem, self.examples, self.uploads = engine, problem, examples, uploads
        self.labels: list[tuple[Any, dict[str, Callable[[str], str]]]] = []  # component; property -> text by language
        with gr.Blocks(title="TikTalkCoref", delete_cache=(60, KEPT_SECONDS), fill_width=True) as self.blocks:
            self._lay_out()
            self._connect()

    # Layout

    def _lay_out(self) -> None:
        with gr.Row():
            with gr.Column(scale=5, min_width=280):
                self._static("<h1>{}</h1>", "title")
                self._static('<p class="ttc-intro">{}</p>', "intro")
            with gr.Column(scale=1, min_width=230):
                choices = [(name, code) for code, name in LANGUAGES.items()]
                self.language = self._said(gr.Radio(choices, value="en", elem_id="language"), label="language")
        self.problem_note = note("problem", self._problem("en"))
        self._static("<h2>{}</h2>", "examples")
        self.gallery = example_gallery([_thumbnail(example) for example in self.examples.values()])
        self.example = gr.State("")
        self.arrived = gr.Textbox(visible=False)
        with gr.Row():
            with gr.Column(scale=4, min_width=300):
                self._lay_out_inputs()
            with gr.Column(scale=7, min_width=300):
                self.status = note("status")
                self.result = result_view()
        self._static('<p class="ttc-fine">{}</p>', "limits", **vars(LIMITS))

    def _lay_out_inputs(self) -> None:
        self.notes: dict[str, gr.HTML] = {}
        self._static("<h2>{}</h2>", "chat")
        self.chat = dialogue_rows(split_chat)
        self.notes["chat"] = note("note-chat")
        self.title = self._said(gr.Textbox(elem_id="title", max_lines=1), label="video_title")
        with gr.Tabs():
            with self._said(gr.Tab(elem_id="tab-frame"), label="tab_frame"):
                self.frame = self._said(gr.File(type="filepath", height=110, elem_id="frame"), label="frame")
                self.editor = frame_editor()
                self.boxes = self._said(
                    gr.Textbox(lines=2, visible=False, elem_id="boxes"), label="boxes", info="boxes_info"
                )
                self.notes["frame"] = note("note-frame")
            with self._said(gr.Tab(elem_id="tab-pictures"), label="tab_pictures"):
                self.pictures = self._said(
                    gr.File(file_count="multiple", type="filepath", height=150, elem_id="pictures"), label="pictures"
                )
                self.notes["pictures"] = note("note-pictures")
            with self._said(gr.Tab(elem_id="tab-video"), label="tab_video"):
                self.video = self._said(gr.File(type="filepath", height=150, elem_id="video"), label="video")
                self.notes["video"] = note("note-video")
        with gr.Row():
            self.run = self._said(gr.Button(variant="primary", elem_id="run"), value="run")
            self.stop = self._said(gr.Button(elem_id="stop", min_width=80), value="stop")
            self.clear = self._said(gr.Button(elem_id="clear", min_width=80), value="clear")

    def _said(self, component: Any, **texts: str) -> Any:
        """A component with the properties that follow the language."""
        for name, key in texts.items():
            setattr(component, name, say(key))
        self.labels.append((component, {name: partial(say, key) for name, key in texts.items()}))
        return component

    def _static(self, template: str, key: str, **values: object) -> None:
        """Text of our own in a tag."""
        fill = partial(_fill, template, key, values)
        self.labels.append((gr.HTML(fill("en")), {"value": fill}))

    def _problem(self, language: str) -> dict[str, Any]:
        text = say("no_model", language, reason=self.problem) if self.problem else ""
        return {"text": text, "alert": True}

    # Events

    def _connect(self) -> None:
        fields = [self.chat, self.title, self.pictures, self.frame, self.boxes, self.video]
        notes = [self.notes[name] for name in FIELDS]
        shown = [self.result, self.status, *notes]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        labelled = [component for component, _ in self.labels]
        running: dict[str, Any] = {
            "fn": self._run, "inputs": [*fields, self.example, self.language], "outputs": shown,
            "api_visibility": "private", "concurrency_id": "model", "show_progress": "full",
            "show_progress_on": self.status,
        }  # fmt: skip
        runs = [self.run.click(**running)]
        picked = self.gallery.select(self._pick, None, [*fields, self.example], **private)
        runs.append(picked.then(**running))
        self.chat.input(None, None, self.example, js="() => ''", **private)
        self.frame.change(
            self._framed,
            [self.frame, self.boxes, self.language],
            [self.editor, self.boxes, self.notes["frame"]],
            **private,
        )
        self.boxes.change(None, [self.boxes, self.editor], self.editor, js=DRAW_BOXES, **private)
        self.editor.input(None, self.editor, self.boxes, js=WRITE_BOXES, **private)
        self.clear.click(self._cleared, None, [*fields, self.example, *shown], queue=False, **private)
        gr.on(
            [self.language.change], self._speak, self.language, [*labelled, self.problem_note], js=SET_LANGUAGE,
            queue=False, **private,
        )  # fmt: skip
        arrival = self.blocks.load(
            lambda language, example: (language, example), [self.language, self.arrived], [self.language, self.arrived],
            js=ARRIVE, queue=False, **private,
        )  # fmt: skip
        opened = arrival.then(self._open, self.arrived, [*fields, self.example], queue=False, **private)
        runs.append(opened.then(**(running | {"fn": self._run_named})))
        for started in runs:  # each by itself: in a list the last ones wait, and would end what was started meanwhile
            ended = self.stop.click(None, cancels=started, **private)
            ended.then(self._stopped, self.language, self.status, queue=False, **private)
        self.blocks.unload(self._leave)
        gr.api(self.resolve, api_name="resolve", concurrency_id="model", concurrency_limit=1)

    def _pick(self, event: gr.EventData) -> list[Any]:
        return self._filled(self.examples.get(str(event.example)))

    def _open(self, name: str) -> list[Any]:
        """The example that the address names, or the fields as they are."""
        return self._filled(self.examples.get(name)) if name in self.examples else [gr.skip()] * 7

    def _filled(self, example: Example | None) -> list[Any]:
        if example is None:
            return [gr.skip()] * 7
        frame = str(example.frame) if example.frame else None
        return [split_chat(example.chat), example.title, None, frame, write_boxes(example.boxes), None, example.name]

    def _run_named(
        self, chat: Rows, title: str, pictures: list[str] | None, frame: str | None, boxes: str | None,
        video: str | None, example: str, language: str, request: gr.Request,
    ) -> Iterator[list[Any]]:  # fmt: skip
        """As `_run`, where the address named an example."""
        if example:
            yield from self._run(chat, title, pictures, frame, boxes, video, example, language, request)
        else:
            yield [gr.skip()] * (2 + len(FIELDS))

    def _framed(self, frame: str | None, boxes: str | None, language: str, request: gr.Request) -> list[Any]:
        """A frame was given or taken away: what is drawn, its boxes, those of the heads found if there are none."""
        if frame is None:
            return [None, gr.Textbox("", visible=False), None]
        self.uploads.remember(request.session_hash or "", [frame])
        view: dict[str, Any] | None = None
        try:
            picture = read_picture(frame, "frame")
            view = {"picture": data_url(picture, FRAME), "width": picture.width, "height": picture.height, "boxes": []}
            view["boxes"] = read_boxes(boxes, picture.size) if boxes else detect_boxes(picture)
        except InputError as error:
            text = gr.skip() if view is None else gr.Textbox(visible=True)
            return [view, text, {"text": error.message(language), "alert": view is None}]
        return [view, gr.Textbox(write_boxes(view["boxes"]), visible=True), None]

    def _stopped(self, language: str) -> dict[str, Any]:
        return {"text": say("stopped", language)}

    def _cleared(self) -> list[Any]:
        return [START, "", None, None, "", None, "", None, None, *[None] * len(FIELDS)]

    def _speak(self, language: str) -> list[Any]:
        updates = [
            {"__type__": "update", **{name: text(language) for name, text in texts.items()}} for _, texts in self.labels
        ]
        return [*updates, self._problem(language)]

    def _leave(self, request: gr.Request) -> None:
        self.uploads.forget(request.session_hash or "")

    # Work

    def _run(
        self, chat: Rows, title: str, pictures: list[str] | None, frame: str | None, boxes: str | None,
        video: str | None, example: str, language: str, request: gr.Request,
    ) -> Iterator[list[Any]]:  # fmt: skip
        """What the page shows, step by step: result, status, a note for each field."""
        self.uploads.remember(request.session_hash or "", [*(pictures or []), frame, video])
        visit = Visit(*read_rows(chat), title, pictures or [], frame, boxes or "", video)
        none = [None] * len(FIELDS)
        started = time.perf_counter()
        try:
            for step in self._work(visit):
                if isinstance(step, dict):
                    step["example"] = example
                    yield [step, {"text": _summary(step, time.perf_counter() - started, language)}, *none]
                else:
                    key, values = step
                    yield [gr.skip(), {"text": say(key, language, **values)}, *none]
        except InputError as error:
            notes = [{"text": error.message(language), "alert": True} if error.field == f else None for f in FIELDS]
            yield [None, {"text": say("refused", language)}, *notes]
        except Exception as error:
            yield [None, {"text": self._explain(error, language), "alert": True}, *none]

    def _work(self, visit: Visit) -> Iterator[tuple[str, dict[str, Any]] | dict[str, Any]]:
        """(text, values) of each step, in the end the view."""
        if self.engine is None:
            raise _NoModelError(self.problem)
        yield "reading", {}
        dialogue = read_visit(visit)
        people: People | None = None
        if visit.video:
            for found in find_people(visit.video):
                if isinstance(found, People):
                    people = found
                else:
                    yield "detecting", {"done": found[0], "total": found[1]}
        if people:
            dialogue["regions"] = people.crops
        yield "linking", {}
        result = self.engine.resolve(dialogue)
        if people:
            result["entities"] = people.entities
        yield make_view(
            dialogue, result, candidates(dialogue), people.entities if people else (), people.seconds if people else 0.0
        )

    def _explain(self, error: Exception, language: str) -> str:
        if isinstance(error, _NoModelError):
            return say("no_model", language, reason=self.problem)
        message = message_for_user(error)
        if message is None:  # what visitors write may stand in the message: only its kind is logged
            logger.error("a request failed: %s", type(error).__name__)
        return message or say("failed", language)

    def resolve(
        self,
        sentences: list[str],
        speakers: list[str] | None = None,
        title: str = "",
        regions: list[gr.FileData] | None = None,
        frame: gr.FileData | None = None,
        boxes: list[list[int]] | None = None,
        video: gr.FileData | None = None,
    ) -> dict[str, Any]:
        """Who is who in a dialogue: the pipeline's result; for a video with its visual entities.

        Args:
            sentences: the utterances.
            speakers: who says each; without it two take turns.
            title: of the video.
            regions: pictures of heads; or
            frame, boxes: a picture and [left, top, right, bottom] of each head in pixels, heads are looked for without
                boxes; or
            video: a short video.
        """
        try:
            visit = Visit(
                sentences, speakers or [], title, [str(self._uploaded(file)) for file in regions or []],
                self._uploaded(frame), write_boxes(boxes or []), self._uploaded(video),
            )  # fmt: skip
            *_, view = self._work(visit)
        except Exception as error:
            raise gr.Error(html.escape(self._explain(error, "en")), print_exception=False) from None
        assert isinstance(view, dict)
        return view["json"]

    def _uploaded(self, file: Any) -> str | None:
        """The path of a file that came with a request; nothing else on this machine is opened."""
        if file is None:
            return None
        path = file["path"] if isinstance(file, dict) else file.path
        if not self.uploads.holds(path):
            raise InputError("pictures", "gone", name=Path(path).name[:60])
        return path


class _NoModelError(Exception):
    """The app runs without a model."""


def _fill(template: str, key: str, values: dict[str, object], language: str) -> str:
    return f'<div class="ttc">{template.format(html.escape(say(key, language, **values)))}</div>'


def _thumbnail(example: Example) -> dict[str, Any]:
    picture = None
    if example.frame:
        with Image.open(example.frame) as opened:
            picture = data_url(opened, THUMBNAIL)
    return {"name": example.name, "labels": example.label, "picture": picture, "text": example.chat}


def _summary(view: dict[str, Any], seconds: float, language: str) -> str:
    clusters = view["clusters"]
    return say(
        "done" if view["pictured"] else "done_text",
        language,
        seconds=seconds,
        mentions=sum(len(cluster["mentions"]) for cluster in clusters),
        clusters=len(clusters),
        linked=sum(cluster["region"] is not None for cluster in clusters),
    )
