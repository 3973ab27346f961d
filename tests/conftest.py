"""What every test may rely on: no display, no hub, few threads, a home of its own, repeatable public randomness."""

from __future__ import annotations

import os

# Before anything is imported: Qt aborts without a platform, the others read these once.
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "2")

import random
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A loaded two-core machine decides how long an example takes; the examples themselves are the same in every run.
settings.register_profile(
    "house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def tacita_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TACITA_HOME for each test, so that none reads or writes the user's or another test's."""
    home = tmp_path_factory.mktemp("tacita-home")
    monkeypatch.setenv("TACITA_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def public_seeds() -> None:
    """Seeds the global generators: they make test data and sampled tokens, never a secret (invariant 4)."""
    random.seed(2026)
    # Not imported for their own sake: tests of the window must stay light.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(2026)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(2026)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine cannot run, each with what to do about it."""
    no_keyring = pytest.mark.skip(reason="needs the Secret Service that scripts/test starts")
    no_xvfb = pytest.mark.skip(reason="needs Xvfb: run scripts/setup test")
    keyring_here = os.environ.get("TACITA_TEST_KEYRING") == "1"
    xvfb_here = shutil.which("Xvfb") is not None
    for item in items:
        if not keyring_here and item.get_closest_marker("keyring"):
            item.add_marker(no_keyring)
        if not xvfb_here and item.get_closest_marker("xvfb"):
            item.add_marker(no_xvfb)
