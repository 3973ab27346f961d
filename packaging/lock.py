"""Write requirements-client.txt and requirements-tools.txt anew: every wheel with its SHA-256.

lock.py VENV_PYTHON CLIENT TOOLS      run by packaging/lock, for the platform and the Python that it runs on
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import tomllib
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
CLIENT_HEAD = """\
# Written by packaging/lock: what the desktop bundle is built from, on Linux x86-64 with Python 3.11. Do not edit.
# Versions are those of requirements.lock. torch is the build for CPUs alone (2.13.0+cpu).
"""
TOOLS_HEAD = (
    "# Written by packaging/lock: what builds the bundle and is no part of it. Do not edit.\n"
)
TOOLS = ["pyinstaller>=6.22,<7"]
MORE = ["pip"]
"""Also in the bundle: the embedded server fetches models with it."""


def wanted() -> list[str]:
    """The dependencies of client and server. Nothing of the extra `glwe`: free for non-commercial use only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["server"], *MORE]


def name_and_version(wheel: Path) -> tuple[str, str]:
    """As its metadata says."""
    with ZipFile(wheel) as archive:
        member = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        meta = HeaderParser().parsestr(archive.read(member).decode())
    return meta["Name"].lower().replace("_", "-").replace(".", "-"), meta["Version"].partition("+")[
        0
    ]


def download(python: str, folder: Path, constraints: Path, names: list[str]) -> str:
    """The lines of a requirements file with hashes for `names` and all that they need."""
    command = [python, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", str(folder)]
    subprocess.run([*command, "-c", str(constraints), *names], check=True)
    lines = []
    for wheel in sorted(folder.glob("*.whl"), key=lambda path: name_and_version(path)[0]):
        name, version = name_and_version(wheel)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(lines)


def main() -> None:
    """Download, hash, write."""
    python, client, tools = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    locked = [
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    ]
    torch = next(line for line in locked if line.startswith("torch=="))
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(locked))
        lines = download(python, Path(folder) / "client", constraints, [torch, *wanted()])
        client.write_text(CLIENT_HEAD + lines)
        tools.write_text(TOOLS_HEAD + download(python, Path(folder) / "tools", constraints, TOOLS))


if __name__ == "__main__":
    main()
