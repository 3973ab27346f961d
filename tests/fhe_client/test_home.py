from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fhe_client.home import Home, private_folder


def test_the_variable_moves_all_four(tmp_path: Path) -> None:
    home = Home.locate({"TACITA_HOME": str(tmp_path / "h")})
    assert [path.name for path in (home.config, home.data, home.cache, home.log)] == [
        "config",
        "data",
        "cache",
        "log",
    ]
    assert {path.parent for path in home.folders} == {tmp_path / "h"}
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize("environ", [{}, {"TACITA_HOME": ""}])
def test_without_it_the_platform_decides(environ: dict[str, str]) -> None:
    home = Home.locate(environ)
    assert home.profile == ""
    assert all("tacita" in str(path) for path in home.folders)


def test_profiles_are_told_apart_by_their_real_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    first, second = Home.at(tmp_path / "a"), Home.at(tmp_path / "b")
    assert first.profile != second.profile
    assert len(first.profile) == 12
    assert Home.at(tmp_path / "link") == first
    assert Home.at(tmp_path / "b" / ".." / "a") == first


def test_folders_are_made_private_and_existing_ones_closed(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "new" / "h")
    (tmp_path / "new" / "h").mkdir(parents=True)
    home.data.mkdir(mode=0o755)
    home.data.chmod(0o755)
    assert home.ensure() is home
    for folder in home.folders:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_parents_that_exist_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)
    private_folder(tmp_path / "shared" / "a" / "b")
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "shared" / "a").stat().st_mode) == 0o700
