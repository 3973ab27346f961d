"""Keeping key material out of files: what the system is asked for, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fhe_client.crypto import hardening
from fhe_client.crypto.errors import CryptoError
from fhe_client.errors import TacitaError

CHECK = """
import resource
from pathlib import Path
from fhe_client.crypto.hardening import harden_process
print(harden_process())
print(resource.getrlimit(resource.RLIMIT_CORE))
import ctypes
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own answer")
def test_a_hardened_process_leaves_no_core_and_cannot_be_attached_to() -> None:
    run = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    missing, limit, dumpable = run.stdout.splitlines()
    assert (missing, limit, dumpable) == ("[]", "(0, 0)", "0")


@pytest.mark.skipif(os.name != "posix", reason="patches the POSIX way")
def test_what_cannot_be_switched_off_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(hardening, "_not_dumpable", lambda: False)
    monkeypatch.setattr(hardening.sys, "platform", "linux")
    missing = hardening.harden_process()
    assert missing == [
        "core dumps could not be switched off",
        "the process could not be made undumpable",
    ]


def test_every_error_of_the_core_has_a_code_of_its_own() -> None:
    kinds = CryptoError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) >= 5
    assert all(issubclass(kind, TacitaError) for kind in kinds)
