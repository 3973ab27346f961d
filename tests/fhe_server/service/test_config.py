"""The config file: every setting explained, every mistake named, flags above it."""

from __future__ import annotations

import argparse
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fhe_server.service.config import (
    ConfigError,
    Settings,
    add_flags,
    default_config,
    read_config,
    resolve,
)
from fhe_server.service.config_values import address_of, size_of
from fhe_server.service.serving import batch_limits_of, limits_of


def test_the_default_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(default_config())
    assert read_config(path) == {}
    assert resolve(path, {}) == Settings()


def test_every_setting_is_in_it_and_is_read_back(tmp_path: Path) -> None:
    """With every # before a setting removed it is a valid file, and what has a default means the default."""
    text = re.sub(r"^#(\w+ = )", r"\1", default_config(), flags=re.MULTILINE)
    path = tmp_path / "server.toml"
    path.write_text(text)
    found = read_config(path)
    assert set(found) == {f.name for f in fields(Settings)}
    for setting in fields(Settings):
        if setting.default is not None:
            assert found[setting.name] == setting.default, setting.name
    for section in tomllib.loads(text).values():
        assert section


def test_every_setting_is_explained() -> None:
    lines = default_config().splitlines()
    for setting in fields(Settings):
        index = next(i for i, line in enumerate(lines) if line.startswith(f"#{setting.name} = "))
        assert lines[index - 1].startswith("# ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[listen]\nprot = 1\n", "listen.prot"),
        ("[limits]\nport = 1\n", "limits.port"),
        ("port = 1\n", "sets port"),
        ("[listen]\nport = 70000\n", "must lie between 0 and 65535"),
        ('[listen]\nport = "x"\n', "listen.port"),
        ("[listen]\nport = true\n", "must be a number"),
        ("[engine]\ndevice = 'tpu'\n", "must be one of: cpu, cuda"),
        ("[models]\nmemory_budget = 'much'\n", "must be a size"),
        ("[models]\nmodel = [1]\n", "must be a list of names"),
        ("[access]\nopen = 1\n", "must be true or false"),
        ("[listen]\nmetrics = '9471'\n", "must be HOST:PORT"),
        ("[listen\n", "not valid TOML"),
        ("\xff", "not valid TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "server.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read"):
        read_config(tmp_path / "none.toml")


def test_flags_beat_the_file(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('[listen]\nport = 1\nhost = "::1"\n[models]\nmemory_budget = "2 GB"\n')
    settings = resolve(path, {"port": 2})
    assert (settings.port, settings.host, settings.memory_budget) == (2, "::1", 2_000_000_000)


def flags(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return vars(parser.parse_args(arguments))


def test_every_setting_is_a_flag_and_what_is_not_given_leaves_no_trace() -> None:
    assert flags() == {}
    assert flags("--memory-budget", "1.5GB", "--no-preload", "--open", "--tls-cert", "x.pem") == {
        "memory_budget": 1_500_000_000,
        "preload": False,
        "open": True,
        "tls_cert": Path("x.pem"),
    }
    with pytest.raises(SystemExit):
        flags("--log-format", "xml")


@pytest.mark.parametrize(
    "chosen", [{"tls_key": Path("k")}, {"open": True, "tokens": Path("tokens.json")}]
)
def test_settings_that_contradict_are_refused(chosen: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        resolve(None, chosen)


def test_limits_reach_the_server() -> None:
    settings = resolve(None, {"max_batch_wait_ms": 5.0, "max_waiting": 3, "idle_seconds": 9.0})
    assert batch_limits_of(settings).max_wait_s == 0.005
    assert batch_limits_of(settings).max_waiting == 3
    assert limits_of(settings).idle_seconds == 9.0


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("2 kB", 2000), ("1.5G", 1_500_000_000)])
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1 XB", "GB", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        size_of(text)


def test_addresses() -> None:
    assert address_of("[::1]:80") == ("::1", 80)
    for bad in ("x", ":80", "x:y", "x:70000"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            address_of(bad)
