"""The rules of the house that a machine can check: one-way imports, one version, small files, a complete lock."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from fhe_protocol.version import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "fhe_client", "fhe_protocol", "fhe_server")
MOST_LINES = 500
EXTRAS = ("server", "glwe", "dev")

# Packages that may not be loaded by importing all modules of the first, not even through others.
NEVER_LOADED = {
    "app": ("torch", "numpy", "transformers", "requests", "fhe_protocol", "fhe_server"),
    "fhe_client": ("PySide6", "app", "fhe_server"),
    "fhe_protocol": ("torch", "transformers", "requests", "fhe_client", "fhe_server", "app"),
    "fhe_server": ("fhe_client", "app", "PySide6", "keyring"),
}

IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def loaded_by(package: str) -> set[str]:
    """Top-level names in sys.modules of a fresh interpreter that has imported every module of `package`."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, package],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_imports_and_loads_nothing_forbidden(package: str) -> None:
    loaded = loaded_by(package)
    assert package in loaded
    assert loaded.isdisjoint(NEVER_LOADED[package])


def test_imports_go_one_way() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    run = subprocess.run(
        [*command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "7 kept, 0 broken" in run.stdout


def test_no_module_is_too_long() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in sources()}
    assert len(lengths) > 20
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}


def test_the_installed_version_is_the_one_in_the_source() -> None:
    assert version("tacita") == __version__
    assert str(Version(__version__)) == __version__


def test_the_version_is_written_once() -> None:
    literal = re.compile(rf"""["']{re.escape(__version__)}["']""")
    places = [str(p.relative_to(ROOT)) for p in sources() if literal.search(p.read_text())]
    assert places == ["fhe_protocol/version.py"]


def test_the_changelog_speaks_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[{re.escape(__version__)}\]", changelog, re.MULTILINE)


def needed(wanted: Iterable[str], extra: str = "") -> Iterator[Requirement]:
    for line in wanted:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def closure() -> set[str]:
    """Names of all packages that this platform needs for Tacita and its locked extras."""
    described = project()
    optional = described["optional-dependencies"]
    waiting = list(needed([*described["dependencies"], *(r for e in EXTRAS for r in optional[e])]))
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key not in seen:
                seen.add(key)
                waiting += needed(distribution(requirement.name).requires or [], extra)
    return {name for name, _ in seen}


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}


def test_the_lock_pins_everything_that_is_needed() -> None:
    pins = locked()
    assert all(re.fullmatch(r"==[0-9][^,*]*", pin) for pin in pins.values())
    # A torch built for CUDA brings packages of its own, which it pins itself.
    ours = {n for n in closure() if not n.startswith(("nvidia-", "cuda-", "triton"))}
    assert len(ours) > 40
    assert ours - pins.keys() == set()


def test_no_test_can_reach_a_users_home(tacita_home: Path) -> None:
    assert list(tacita_home.iterdir()) == []
    assert not tacita_home.is_relative_to(ROOT)
