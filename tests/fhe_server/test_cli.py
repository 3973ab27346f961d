"""`tacita-server` from its arguments to its exit status; errors are two lines, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fhe_server import cli
from fhe_server.cli import main
from fhe_server.errors import PullError
from fhe_server.imports import importing, pull
from fhe_server.service import serving
from fhe_server.service.app import hash_token
from fhe_server.service.serving import ServeOptions
from tests.tiny_models import save_tiny, save_tiny_gguf, tiny_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TACITA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_import_then_list(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tiny(tmp_path / "tiny", "llama")
    capsys.readouterr()
    assert main(["import", str(tmp_path / "tiny"), "--name", "little", "--threads", "1"]) == 0
    printed = capsys.readouterr()
    assert "little: LlamaForCausalLM, 10 groups" in printed.out
    assert "computing hints: done" in printed.err
    assert (home / "data" / "models" / "little" / "manifest.json").is_file()
    assert main(["import", str(tmp_path / "tiny"), "--name", "little", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert "nothing was changed" in printed.out
    assert printed.err == ""
    assert main(["list"]) == 0
    assert capsys.readouterr().out.startswith("little  LlamaForCausalLM")


def test_list_tells_damage_and_emptiness(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--models", str(tmp_path / "none")]) == 0
    assert "tacita-server pull" in capsys.readouterr().err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.json").write_text("{}")
    assert main(["list", "--models", str(tmp_path)]) == 0
    assert "bad  damaged" in capsys.readouterr().out


def test_options_reach_the_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    class Report:
        unchanged = False

        def lines(self) -> list[str]:
            return ["summary"]

        def error_lines(self) -> list[str]:
            return ["worst"]

    monkeypatch.setattr(importing, "import_model", lambda *args: seen.append(args) or Report())
    arguments = ["import", "some/id", "--models", str(tmp_path), "--local", "lm_head, embed"]
    assert main([*arguments, "--max-error", "0.01"]) == 0
    source, models, name, options, _ = seen[0]
    assert (source, models, name) == ("some/id", tmp_path, None)
    assert options.local == ("embed", "lm_head")
    assert options.max_error == 0.01
    assert capsys.readouterr().out == "summary\n"
    assert main([*arguments, "--report"]) == 0
    assert capsys.readouterr().out == "summary\n\nworst\n"


def test_pull_fetches_and_imports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))
    monkeypatch.setattr(pull, "pull", lambda name, progress: tmp_path / "tiny.gguf")
    assert main(["pull", "smollm2-135m", "--no-import"]) == 0
    assert str(tmp_path / "tiny.gguf") in capsys.readouterr().out
    assert main(["pull", "smollm2-135m", "--models", str(tmp_path / "models"), "--quiet"]) == 0
    assert "smollm2-135m: LlamaForCausalLM" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["smollm2-135m"]


def test_serve_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[ServeOptions] = []
    monkeypatch.setattr(serving, "serve", lambda options: seen.append(options) or 0)
    arguments = ["serve", "--models", str(tmp_path), "--host", "::1", "--port", "0"]
    arguments += ["--model", "a", "--model", "b", "--port-file", str(tmp_path / "port.json")]
    assert main([*arguments, "--exit-with-stdin"]) == 0
    options = seen[0]
    assert (options.models, list(options.names)) == (tmp_path, ["a", "b"])
    assert (options.host, options.port, options.device) == ("::1", 0, "cpu")
    assert options.port_file == tmp_path / "port.json"
    assert options.exit_with_stdin


def test_tokens_are_read_from_a_file_and_kept_as_digests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[ServeOptions] = []
    monkeypatch.setattr(serving, "serve", lambda options: seen.append(options) or 0)
    first, second = "a" * 16, "another-token-of-some-length"
    path = tmp_path / "tokens"
    path.write_text(f"# who may come\n{first}\n\n  {second}  \n")
    assert main(["serve", "--token-file", str(path)]) == 0
    assert seen[0].token_hashes == {hash_token(first), hash_token(second)}
    assert main(["serve"]) == 0
    assert seen[1].token_hashes == frozenset()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "Cannot read the token file"),
        (b"# nothing\n\n", "holds no token"),
        (b"short\n", "Token 1 in"),
        (b"long-enough-for-a-token\nlong enough but with spaces\n", "Token 2 in"),
        (b"\xff\xfe\n", "not UTF-8"),
    ],
)
def test_a_token_file_that_would_let_everyone_in_is_refused(
    content: bytes | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(serving, "serve", lambda options: pytest.fail("it was served"))
    path = tmp_path / "tokens"
    if content is not None:
        path.write_bytes(content)
    assert main(["serve", "--token-file", str(path)]) == 1
    assert said in capsys.readouterr().err


def test_progress_for_programs_is_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny(tmp_path / "tiny", "llama")
    arguments = ["import", str(tmp_path / "tiny"), "--models", str(tmp_path / "models")]
    assert main([*arguments, "--progress-json"]) == 0
    lines = capsys.readouterr().err.splitlines()  # transformers may add a line of its own
    records = [json.loads(line) for line in lines if line.startswith('{"stage"')]
    assert {"stage", "done", "total"} == set(records[0])
    assert records[-1]["done"] == records[-1]["total"] > 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["pull", "no-such-model"],
        ["import", "./no-such.gguf"],
        ["import", "."],
        ["serve", "--port", "0"],
    ],
)
def test_an_error_is_what_happened_and_what_to_do(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first.startswith("tacita-server: ")
    assert second.startswith("  ")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (PullError("It failed."), 1)]
)
def test_every_end_has_its_status(
    error: BaseException,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(pull, "pull", fail)
    assert main(["pull", "smollm2-135m"]) == status
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["import"],
        ["import", "x", "--max-error", "0"],
        ["import", "x", "--max-error", "much"],
        ["import", "x", "--threads", "0"],
        ["serve", "--port", "70000"],
        ["serve", "--device", "tpu"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: tacita-server" in capsys.readouterr().err


def test_help_and_version_do_not_import_torch() -> None:
    code = (
        "import sys, fhe_server.cli as cli\n"
        "try: cli.main(['--version'])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        stdin=subprocess.DEVNULL,
        cwd=Path(cli.__file__).parent.parent,
    )
    assert done.stdout.splitlines()[-1] == "0 False"
    assert done.stdout.startswith("tacita-server ")
