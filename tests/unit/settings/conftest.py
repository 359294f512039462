from pathlib import Path

import pytest

from tests.support.config import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A configuration that is right until a test makes something in it wrong."""
    return Folder(tmp_path)
