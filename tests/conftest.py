"""What every test may use: the shared folder with upstream's files, where there is one."""

import os
from pathlib import Path

import pytest


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
