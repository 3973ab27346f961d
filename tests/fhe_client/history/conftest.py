from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fhe_client.history import History

KEY = bytes(range(32))


@pytest.fixture
def memory() -> Iterator[History]:
    history = History(None)
    yield history
    history.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.db"
