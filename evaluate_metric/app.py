"""The page of the metric's Space: two JSON fields in, scores out.

Written by hand: `evaluate.utils.launch_gradio_widget` fails with current gradio.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
EXAMPLE = (
    [{"clusters": [[[0, 3], [7, 7]], [[9, 9]]], "rankings": [[1, 0], []]}],
    [{"clusters": [[[0, 3], [7, 7]], [[9, 10]]], "links": [1, -1]}],
)


def module_path() -> Path:
    """The metric's own file: `evaluate` wants it called like its repository, so its name may differ."""
    others = sorted(path for path in FOLDER.glob("*.py") if path.name != Path(__file__).name)
    return next(path for path in others if "(evaluate.Metric)" in path.read_text(encoding="utf-8"))


def compute(metric: Any, predictions: str, references: str, keep_singletons: bool) -> tuple[str, str]:
    """(scores as JSON, "") or ("", what is wrong with the input)."""
    documents = []
    for name, text in (("predictions", predictions), ("references", references)):
        try:
            documents.append(json.loads(text))
        except ValueError as error:
            return "", f"{name}: not JSON ({error}); expected a list with one object a document"
    try:
        scores = metric.compute(predictions=documents[0], references=documents[1], keep_singletons=keep_singletons)
    except ValueError as error:
        return "", str(error)
    return json.dumps(scores, indent=2), ""


def build() -> Any:
    """The page."""
    import evaluate
    import gradio

    metric = evaluate.load(str(module_path()))
    card = (FOLDER / "README.md").read_text(encoding="utf-8").split("\n---\n", 1)[-1]
    with gradio.Blocks(title="Multimodal coreference") as page:
        with gradio.Row():
            predictions = gradio.Textbox(json.dumps(EXAMPLE[0], indent=1), label="Predictions (JSON)", lines=12)
            references = gradio.Textbox(json.dumps(EXAMPLE[1], indent=1), label="References (JSON)", lines=12)
        keep_singletons = gradio.Checkbox(True, label="Keep singletons")
        button = gradio.Button("Score", variant="primary")
        problem = gradio.Textbox(label="What is wrong with the input")  # it may hold what was written: never as HTML
        scores = gradio.Code(language="json", label="Scores")
        button.click(
            lambda *values: compute(metric, *values), [predictions, references, keep_singletons], [scores, problem]
        )
        gradio.Markdown(card)
    return page


if __name__ == "__main__":
    build().launch()
