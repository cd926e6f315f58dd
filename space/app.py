"""What the Hub runs: the page for one model, named by TIKTALKCOREF_MODEL or written in by `tiktalkcoref push space`."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported

from tiktalkcoref.space.page import launch

MODEL = "NAMESPACE/MODEL"

if __name__ == "__main__":
    launch(os.environ.get("TIKTALKCOREF_MODEL") or MODEL)
