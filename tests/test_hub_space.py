"""The Space as it is pushed: a whole folder with the model's id set, and a card that the Hub takes."""

import ast

from hub_server import check_card

from tiktalkcoref import __version__
from tiktalkcoref.hub.kinds import KINDS, Sources


def test_the_folder_is_a_space_for_the_model_pushed_beside_it(tmp_path):
    kind = KINDS["space"]
    kind.check(Sources())
    kind.build(Sources(), {"model": "lab/our-model", "space": "lab/demo"}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "app.py", "requirements.txt"]
    texts = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert not [name for name, text in texts.items() if "NAMESPACE/MODEL" in text or "VERSION" in text]
    assert check_card(texts["README.md"], "space") == ([], [])
    assert "models:\n- lab/our-model\n" in texts["README.md"]
    assert f"tiktalkcoref[space]=={__version__}" in texts["requirements.txt"]
    named = {node.targets[0].id: node.value.value for node in ast.parse(texts["app.py"]).body if is_constant(node)}
    assert named == {"MODEL": "lab/our-model"}
    switch, start = texts["app.py"].index("GRADIO_ANALYTICS_ENABLED"), texts["app.py"].index("tiktalkcoref.space")
    assert switch < start  # Gradio reads it when it is imported


def is_constant(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.targets[0], ast.Name)
    )
