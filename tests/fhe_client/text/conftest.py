"""Small artefacts of several families, one for each module of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.small_artefacts import write_artefact


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, write_artefact(folder, request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama-only")
    write_artefact(folder, "llama")
    return folder
