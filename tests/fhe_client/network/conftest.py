"""A real server over a small artefact, one for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fhe_protocol.manifest import Manifest
from fhe_server.artefact import Artefact
from tests.servers import RunningServer, make_artefact, running_server


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefact") / "tiny"
    make_artefact(folder)
    return folder


@pytest.fixture(scope="module")
def manifest(artefact: Path) -> Manifest:
    return Artefact(artefact).manifest


@pytest.fixture(scope="module")
def server(artefact: Path) -> Iterator[RunningServer]:
    with running_server(artefact) as running:
        yield running
