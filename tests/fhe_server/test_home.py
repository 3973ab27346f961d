"""The server's folders are the client's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fhe_client.home import Home
from fhe_server.home import checkpoints_folder, models_folder, private_folder


@pytest.mark.parametrize("moved", [True, False])
def test_client_and_server_agree(
    moved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if moved:
        monkeypatch.setenv("TACITA_HOME", str(tmp_path))
    else:
        monkeypatch.delenv("TACITA_HOME", raising=False)
    home = Home.locate()
    assert models_folder() == home.data / "models"
    assert checkpoints_folder() == home.cache / "checkpoints"
    assert not models_folder().is_relative_to(tmp_path) or not models_folder().exists()


def test_folders_are_private(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    if os.name == "posix":
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert private_folder(folder) == folder
