"""The page's own components: constant templates, filled by scripts that build every node and set every text as text.

What visitors write never goes through a template, HTML or Markdown: Gradio evaluates `{{x}}` and `${x}` of templates as
code. The scripts are the files beside this one; the styles are `page.css`, given to the whole page.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from .texts import words

ROOM = Path(__file__).parent
START = [["A", ""], ["B", ""]]  # the empty dialogue


def result_view() -> gr.HTML:
    """Draws what `view.make_view` gives."""
    return _drawn("result", None, "result")


def example_gallery(examples: list[dict[str, Any]]) -> gr.HTML:
    """Buttons with pictures, of [{name, labels, picture or None, text}]; `select` brings the name as `example`."""
    return _drawn("gallery", examples, "examples")


def dialogue_rows(split_chat: Callable[[str], list[list[str]]]) -> gr.HTML:
    """The dialogue as rows of [speaker, words]; `input` comes when the visitor changes it."""
    return _drawn("dialogue", START, "chat", [split_chat])


def frame_editor() -> gr.HTML:
    """Shows {picture, width, height, boxes}, or nothing; `input` comes when the visitor draws or removes a box."""
    return _drawn("editor", None, "editor")


def note(elem_id: str, value: dict[str, Any] | None = None) -> gr.HTML:
    """A text beside a field, or nothing: {"text", "alert"}."""
    return _drawn("note", value, elem_id)


def _drawn(name: str, value: Any, elem_id: str, functions: Sequence[Callable[..., Any]] = ()) -> gr.HTML:
    # Not a subclass of gr.HTML: for each, Gradio writes a .pyi file beside the module.
    parts, script = ((ROOM / f"{file}.js").read_text(encoding="utf-8") for file in ("parts", name))
    return gr.HTML(
        value,
        html_template=f'<div class="ttc ttc-{name}"></div>',
        js_on_load=f"const WORDS = {json.dumps(words(), ensure_ascii=False)};\n{parts}\n{script}",
        apply_default_css=False,
        elem_id=elem_id,
        server_functions=list(functions),
    )
