"""The page's own components: constant templates, filled by scripts that build every node and set every text as text.

What visitors write never goes through a template, HTML or Markdown: Gradio evaluates `{{x}}` and `${x}` of templates as
code. The scripts are the files beside this one; the styles are `page.css`, given to the whole page.
"""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from .texts import words

ROOM = Path(__file__).parent


class _Drawn(gr.HTML):
    """A component whose `value`, JSON, is drawn by a script."""

    script = ""
    html = ""

    def __init__(self, value: Any = None, **options: Any) -> None:
        source = (ROOM / self.script).read_text(encoding="utf-8")
        start = f"const WORDS = {json.dumps(words(), ensure_ascii=False)};\n"
        super().__init__(
            value,
            html_template=self.html,
            css_template="",
            js_on_load=start + source,
            apply_default_css=False,
            **options,
        )

    def get_block_name(self) -> str:
        """To the page it is gr.HTML."""
        return "html"

    def api_info(self) -> dict[str, Any]:
        """Any JSON."""
        return {"type": "object"}


class ResultView(_Drawn):
    """Draws what `view.make_view` gives."""

    script, html = "result.js", '<div class="ttc ttc-result"></div>'


class ExampleGallery(_Drawn):
    """Buttons with pictures; `select` brings the name of the example. `value`: [{name, labels, picture or None}]."""

    script, html = "gallery.js", '<div class="ttc ttc-gallery"></div>'


class Note(_Drawn):
    """A text beside a field, or nothing: `value` is {"text", "alert"}."""

    script, html = "note.js", '<div class="ttc ttc-note"></div>'
