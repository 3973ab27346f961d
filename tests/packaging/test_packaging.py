"""What packages are made from: one version, valid metadata, excludes that nothing needs, true papers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from fhe_client.environment import RUN_MODULE, RUNNABLE
from fhe_protocol.version import __version__

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"


def load(name: str) -> ModuleType:
    """A module of packaging/, which is no Python package."""
    sys.path.insert(0, str(PACKAGING))
    try:
        spec = importlib.util.spec_from_file_location(
            f"tacita_packaging_{name}", PACKAGING / f"{name}.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(PACKAGING))


contents, deb, finish, papers, reachable, launcher = (
    load(name) for name in ("contents", "deb", "finish", "papers", "reachable", "launcher")
)


# --- one version -----------------------------------------------------------------------------------------------


def test_the_version_is_written_in_one_place() -> None:
    texts = [*PACKAGING.rglob("*"), ROOT / "pyproject.toml", ROOT / "setup.py"]
    pattern = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])")
    found = [
        path.name
        for path in texts
        if path.is_file() and not path.name.startswith("requirements-")
        and path.suffix != ".pyc" and pattern.search(path.read_text("utf-8", "replace"))
    ]  # fmt: skip
    assert found == []


# --- what is in and what is out --------------------------------------------------------------------------------

BLOCK = """
import os
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name in BLOCKED or any(name.startswith(entry + ".") for entry in BLOCKED):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = set(os.environ["TACITA_TEST_BLOCKED"].split(","))
sys.meta_path.insert(0, Block())
"""
"""A sitecustomize.py: every process that is started with it, the embedded server too, cannot import what is named."""


def left_out() -> list[str]:
    """The modules that are not in the bundle."""
    import transformers.models

    folder = Path(str(transformers.models.__file__)).parent
    kept = {*contents.FAMILIES, *contents.MODEL_HELPERS}
    families = [p.name for p in folder.iterdir() if p.is_dir() and p.name not in kept]
    # Whether Concrete ML is there is looked for without importing it.
    excluded = contents.EXCLUDED.keys() - {"concrete_ml_extensions"}
    return [*excluded, *(f"transformers.models.{name}" for name in families)]


def test_a_chat_needs_nothing_that_is_left_out(tmp_path: Path) -> None:
    """The whole self-test, window included, to an encrypted reply, with every excluded module impossible to import.

    Whether there is a keyring depends on the machine (tests/fhe_client/keys).
    """
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    done = subprocess.run(
        [sys.executable, "-m", "app", "--self-test", "--json", "--skip", "keyring"],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
        env={
            "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TACITA_HOME": str(tmp_path / "home"),
            "QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path),
            "TACITA_TEST_BLOCKED": ",".join(left_out()),
        },
    )  # fmt: skip
    assert done.stdout, done.stderr[-2000:]
    result = json.loads(done.stdout)
    outcomes = {check["name"]: check["outcome"] for check in result["checks"]}
    assert outcomes.pop("keyring") == "skipped"
    assert set(outcomes.values()) == {"ok"}, done.stdout + done.stderr[-2000:]
    assert {"window", "import", "round trip", "reply"} <= set(outcomes)
    assert result["ok"]
    assert done.returncode == 0
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_every_supported_family_is_in_the_bundle() -> None:
    from tests.tiny_models import FAMILIES

    folders = {"gemma3_text": "gemma3"}
    assert {folders.get(name, name) for name in FAMILIES} <= set(contents.FAMILIES)


def test_sources_that_are_read_at_import_exist() -> None:
    site = Path(str(importlib.util.find_spec("torch").origin)).parents[1]  # type: ignore[union-attr]
    assert [name for name in contents.SOURCES_NEEDED if not (site / name).is_file()] == []


def test_what_may_not_be_handed_out_is_in_no_list() -> None:
    locked = (PACKAGING / "requirements-client.txt").read_text()
    assert "concrete" not in locked
    assert "concrete_ml_extensions" in contents.EXCLUDED


def test_locked_versions_are_those_that_were_tested() -> None:
    tested = dict(
        re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.M)
    )
    bundled = dict(
        re.findall(
            r"^([\w.-]+)==([\w.]+)", (PACKAGING / "requirements-client.txt").read_text(), re.M
        )
    )
    assert {
        name: version for name, version in bundled.items() if tested.get(name, version) != version
    } == {}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [*wanted["dependencies"], *wanted["optional-dependencies"]["server"]]
    plain = {papers.normal(re.split(r"[<>=;\s\[]", name)[0]) for name in names}
    assert plain <= set(bundled), "dependencies have changed: run packaging/lock"


def test_every_wheel_has_a_hash() -> None:
    for name in ("requirements-client.txt", "requirements-tools.txt"):
        text = (PACKAGING / name).read_text()
        hashes = papers.locked_hashes(text)
        assert len(hashes) == len(re.findall(r"^[\w.-]+==", text, re.M)) > 3
        assert all(len(values) == 1 for values in hashes.values())


# --- libraries -------------------------------------------------------------------------------------------------


def test_libraries_that_only_a_dropped_plugin_needed_go() -> None:
    entries = [
        ("app.so", "/v/app.so", "EXTENSION"),
        ("libused.so.1", "/u/libused.so.1", "BINARY"),
        ("libdeep.so.2", "/u/libdeep.so.2", "BINARY"),
        ("libgtk-3.so.0", "/u/libgtk-3.so.0", "BINARY"),
        ("libgdk-3.so.0", "/u/libgdk-3.so.0", "BINARY"),
        ("libQt6Core.so.6", "PySide6/Qt/lib/libQt6Core.so.6", "SYMLINK"),
        ("PySide6/Qt/lib/libQt6Core.so.6", "/v/libQt6Core.so.6", "BINARY"),
        ("libpython3.11.so.1.0", "/u/libpython3.11.so.1.0", "BINARY"),
        ("torch/lib/libtorch_cpu.so", "/v/libtorch_cpu.so", "BINARY"),
    ]
    needs = {
        "/v/app.so": ["libused.so.1", "libc.so.6"],
        "/u/libused.so.1": ["libdeep.so.2"],
        "/v/libtorch_cpu.so": ["libQt6Core.so.6"],
        "/u/libgtk-3.so.0": ["libgdk-3.so.0"],
    }
    kept = [entry[0] for entry in reachable.reachable(entries, lambda path: needs.get(path, []))]
    assert kept == [
        entry[0] for entry in entries if "gtk" not in entry[0] and "gdk" not in entry[0]
    ]


def test_a_bundle_does_not_say_where_it_was_built(tmp_path: Path) -> None:
    info = tmp_path / "_internal/tacita-1.dist-info"
    kept = "tacita-1.dist-info/METADATA,sha256=b,2\ntacita/__init__.py,sha256=c,3\n"
    deb.place(
        info / "RECORD",
        f"../../../bin/tacita,sha256=a,1\n{kept}tacita-1.dist-info/direct_url.json,,\n",
    )
    deb.place(info / "direct_url.json", '{"url": "file:///somewhere"}')
    finish.forget_place(tmp_path)
    assert (info / "RECORD").read_text() == kept
    assert [path.name for path in info.iterdir()] == ["RECORD"]


# --- the program -----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def restored_environment() -> Iterator[None]:
    """The launcher changes its process's environment: that of the tests stays as it was."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_the_name_decides_what_the_program_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main(["--version"], "/usr/bin/tacita-app") == 0
    assert capsys.readouterr().out.startswith("tacita ")
    for name in ("tacita", "tacita-server"):
        with pytest.raises(SystemExit) as ended:
            launcher.main(["--version"], f"/usr/bin/{name}")
        assert ended.value.code == 0
        assert capsys.readouterr().out == f"{name} {__version__}\n"


def test_a_child_is_one_of_the_named_modules(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main([RUN_MODULE, "os", "x"], "tacita") == 2
    assert "not a part of this program" in capsys.readouterr().err
    assert RUNNABLE == launcher.RUNNABLE


def test_programs_that_we_start_get_their_own_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib/tacita/_internal")
    monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", "/mine")
    monkeypatch.setenv("PYINSTALLER_RESET_ENVIRONMENT", "0")
    launcher.restore_library_path()
    assert launcher.os.environ["LD_LIBRARY_PATH"] == "/mine"
    launcher.restore_library_path()
    assert "LD_LIBRARY_PATH" not in launcher.os.environ
    assert launcher.os.environ["PYINSTALLER_RESET_ENVIRONMENT"] == "1"


# --- the package's own files -----------------------------------------------------------------------------------


@pytest.fixture
def package() -> object:
    return deb.Package("client", f"{__version__}-1", 1_700_000_000)


def test_the_desktop_entry_starts_the_window_and_has_its_icon(package: object) -> None:
    text = (PACKAGING / "debian/tacita.desktop").read_text("utf-8")
    entry = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert entry["Exec"] == "tacita-app"
    assert entry["Icon"] == "tacita"
    assert entry["Comment[de]"]
    source = (ROOT / "app/main.py").read_text()
    assert 'setDesktopFileName("tacita")' in source, (
        "the window is matched to its entry by this name"
    )
    if shutil.which("desktop-file-validate"):
        subprocess.run(
            ["desktop-file-validate", str(PACKAGING / "debian/tacita.desktop")],
            check=True,
            timeout=60,
        )


def test_appstream_metadata_is_valid(package: object, tmp_path: Path) -> None:
    text = deb.fill(PACKAGING / "debian/org.tacita.Tacita.metainfo.xml", package)
    root = ElementTree.fromstring(text)
    assert root.findtext("launchable") == "tacita.desktop"
    release = root.find("releases/release")
    assert release is not None
    assert release.attrib == {"version": __version__, "date": "2023-11-14"}
    if shutil.which("appstreamcli"):
        path = tmp_path / "org.tacita.Tacita.metainfo.xml"
        path.write_text(text, "utf-8")
        done = subprocess.run(
            ["appstreamcli", "validate", "--no-net", str(path)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", ["debian/tacita.1", "server/tacita-server.8"])
def test_man_pages_have_no_mistakes(package: object, page: str, tmp_path: Path) -> None:
    text = deb.fill(PACKAGING / page, package)
    assert "@" not in text
    assert text.startswith(".TH TACITA")
    if shutil.which("man"):
        path = tmp_path / Path(page).name
        path.write_text(text, "utf-8")
        done = subprocess.run(
            ["man", "--warnings", "-l", str(path)], capture_output=True, text=True, timeout=60,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "MANROFFOPT": "-ww"},
        )  # fmt: skip
        assert done.stderr == ""


def test_an_older_package_is_refused_before_anything_changes(
    package: object, tmp_path: Path
) -> None:
    """The very script, with the real dpkg's comparison."""
    script = tmp_path / "preinst"
    script.write_text(deb.fill(PACKAGING / "debian/preinst", package))
    if not shutil.which("dpkg"):
        pytest.skip("no dpkg here")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(script), *arguments], capture_output=True, text=True, timeout=60
        )

    assert run("install").returncode == 0
    assert run("upgrade", "0.0.9-3").returncode == 0
    assert run("upgrade", f"{__version__}-1").returncode == 0
    refused = run("upgrade", "99.0-1")
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr


def test_purging_says_where_the_users_files_are(package: object, tmp_path: Path) -> None:
    script = tmp_path / "postrm"
    script.write_text(deb.fill(PACKAGING / "debian/postrm", package))
    done = subprocess.run(["sh", str(script), "purge"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "~/.local/share/tacita" in done.stdout
    assert "rm " not in script.read_text()


# --- papers ----------------------------------------------------------------------------------------------------


def test_the_papers_trace_files_to_their_distribution() -> None:
    import requests

    parts, unknown = papers.collect(
        [str(requests.__file__), "/nowhere/of/anyone.so"], {"requests": ("0" * 64,)}
    )
    assert [(part.name, part.licence, part.hashes) for part in parts] == [
        ("requests", "Apache-2.0", ("0" * 64,))
    ]
    assert parts[0].texts
    assert unknown == ["/nowhere/of/anyone.so"]
    document = papers.sbom(parts, "tacita", __version__, 1_700_000_000)
    assert document == papers.sbom(parts, "tacita", __version__, 1_700_000_000)
    assert json.loads(json.dumps(document))["components"][0]["purl"].startswith(
        "pkg:pypi/requests@2"
    )
    assert "requests" in papers.table(parts)
    assert "Apache License" in papers.all_texts(parts)


# --- the server's unit and the wheel ---------------------------------------------------------------------------


def test_the_unit_starts_the_server_with_no_privilege() -> None:
    unit = (PACKAGING / "server/tacita-server.service").read_text()
    settings = dict(
        line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#")
    )
    assert settings["ExecStart"] == "/usr/bin/tacita-server serve --config /etc/tacita/server.toml"
    assert settings["CapabilityBoundingSet"] == ""
    for name in (
        "DynamicUser",
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "RestrictNamespaces",
    ):
        assert settings[name] == "yes"


def test_the_servers_settings_file_is_its_own_and_is_read(tmp_path: Path) -> None:
    """What the package puts into /etc, from a stand-in that is the server from the source tree."""
    bundle = tmp_path / "bundle"
    deb.place(
        bundle / "tacita-server",
        f'#!/bin/sh\nexec "{sys.executable}" -m fhe_server "$@"\n',
        0o755,
    )
    text = deb.server_settings(bundle)
    assert '#host = "127.0.0.1"' in text
    assert tomllib.loads(text).keys() >= {"listen", "models", "limits"}


def test_the_servers_package_shows_the_operators_guides_proxies() -> None:
    examples = deb.proxy_examples()
    assert examples["nginx.conf"].startswith("server {")
    assert examples["Caddyfile"] == "tacita.example.org {\n    reverse_proxy 127.0.0.1:8471\n}\n"


def test_a_wheel_brings_icons_and_translations(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        ours = name.startswith(("app/", "fhe_", "resources/")) or "/" not in name
        if ours and (ROOT / name).is_file():
            (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "source" / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run(
        [*command, "-w", str(tmp_path), str(tmp_path / "source")],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name == f"tacita-{__version__}-py3-none-any.whl"
    assert {"app/resources/icons/app.svg", "app/resources/i18n/tacita_de.qm"} <= set(names)
    assert [n for n in names if n.startswith("fhe_server/") and n.endswith("/catalogue.json")]
    assert not [
        name for name in names if name.startswith(("tests", "packaging", "benchmarks", "resources"))
    ]
