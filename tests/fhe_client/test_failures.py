"""Failures as people read them, and the log: never the text of a foreign exception."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from fhe_client.errors import TacitaError
from fhe_client.failures import describe, log_failure
from fhe_client.home import Home
from fhe_protocol.errors import FrameError

SECRET = "the words of the user"


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FrameError(SECRET), "protocol"),
        (MemoryError(SECRET), "memory"),
        (OSError(errno.ENOSPC, SECRET, SECRET), "disk_full"),
        (PermissionError(errno.EACCES, SECRET, SECRET), "files"),
        (ValueError(SECRET), "internal"),
        (KeyError(SECRET), "internal"),
    ],
)
def test_foreign_errors_are_told_without_their_text(error: Exception, code: str) -> None:
    failure = describe(raised(error))
    assert failure.code == code
    assert failure.message
    assert failure.next_step
    assert SECRET not in repr(failure)
    assert failure.internal == (code == "internal")


def test_our_own_errors_speak_for_themselves() -> None:
    error = TacitaError("It broke.", "Mend it.")
    error.__cause__ = ValueError(SECRET)
    failure = describe(error)
    assert (failure.code, failure.message, failure.next_step) == ("error", "It broke.", "Mend it.")
    assert failure.details == "TacitaError < ValueError"


def test_the_log_has_the_place_and_nothing_else(tacita_home: Path) -> None:
    failure = describe(raised(ValueError(SECRET)))
    log_failure(failure, Home.at(tacita_home))
    log_failure(failure, Home.at(tacita_home))
    path = tacita_home / "log" / "client.log"
    text = path.read_text()
    assert text.count("ValueError") == 2
    assert "test_failures.py" in text
    assert SECRET not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_that_cannot_be_written_is_no_second_failure(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where a folder should be")
    log_failure(describe(ValueError()), Home.at(tmp_path))
