"""`tacita` from its arguments to its exit status: answers on standard output, the rest on standard error."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fhe_client import cli, environment, key_access
from fhe_client.cli import StopOnInterrupt, main
from fhe_client.home import Home
from fhe_client.key_access import open_master_key
from fhe_client.keys import KeyStore
from fhe_client.keys.errors import KeyringUnavailableError, PassphraseNeededError
from fhe_client.keys.passphrase_input import PassphraseInput
from fhe_client.network.errors import ConnectionLostError
from fhe_client.printing import StatusLine
from fhe_client.terminal_chat import TerminalChat
from fhe_client.text.chat import ChatReply
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import Message
from fhe_protocol.version import __version__
from tests.servers import RunningServer, running_server, self_signed
from tests.tiny_world import (
    MODEL,
    PATIENCE,
    ROOT,
    install_tiny,
    server_process,
    tiny_artefact,
)
from tests.tiny_world import environment as child_environment

FIGURES = {
    "answer", "model", "server", "prompt_tokens", "reply_tokens", "seconds_to_first_token",
    "seconds_per_token", "bytes_up", "bytes_down", "hint_bytes", "rounds", "epochs_used",
}  # fmt: skip
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command puts into the environment ends with the test."""
    monkeypatch.setattr(environment.os, "environ", dict(environment.os.environ))
    for name in ("TACITA_SERVER", "TACITA_TOKEN", "TACITA_DEBUG"):
        monkeypatch.delitem(environment.os.environ, name, raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(tiny_artefact()) as running:
        yield running


def ask(url: str, *arguments: str) -> int:
    common = ["--server", url, "--keys", "session", "--temperature", "0", "--max-tokens", "4"]
    return main(["ask", *common, *arguments])


def test_padding_and_its_cost(server: RunningServer, capsys: Captured) -> None:
    assert ask(server.url, "--json", "--pad", "the cat sat on the mat") == 0
    found = json.loads(capsys.readouterr().out)
    fillers = -found["prompt_tokens"] % 32
    assert found["padding_tokens"] == fillers + 32 - found["reply_tokens"]


def test_an_answer_goes_to_standard_output(server: RunningServer, capsys: Captured) -> None:
    assert ask(server.url, "the cat sat on the mat") == 0
    plain = capsys.readouterr()
    assert plain.out.endswith("\n")
    assert "downloading hints" in plain.err
    assert ask(server.url, "--json", "the cat sat on the mat") == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found.keys() >= FIGURES
    assert found["answer"].strip() == plain.out.strip()
    assert found["model"] == MODEL
    assert found["rounds"] > 0
    assert found["epochs_used"] == 1
    assert found["bytes_up"] > 0
    assert found["hint_bytes_downloaded"] == 0
    assert printed.err == ""


def test_a_certificate_is_shown_and_then_pinned(capsys: Captured, tmp_path: Path) -> None:
    pem, fingerprint = self_signed(tmp_path)
    with running_server(tiny_artefact(), certificate=pem) as secure:
        assert ask(secure.url, "the cat") == 1
        assert "tacita test" in capsys.readouterr().err
        assert main(["test", secure.url]) == 1
        assert f"--certificate {fingerprint}" in capsys.readouterr().out
        assert main(["test", secure.url, "--certificate", fingerprint]) == 0
        spelled = ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
        assert ask(secure.url, "--certificate", spelled, "the cat") == 0
        capsys.readouterr()
        assert ask(secure.url, "--certificate", "0" * 64, "the cat") == 1
        assert "not the expected one" in capsys.readouterr().err
    assert main(["ask", "--local", "--certificate", fingerprint, "the cat"]) == 2
    assert spelled.encode() == fingerprint_of(pem)


def fingerprint_of(pem: Path) -> bytes:
    """As the tool prints it that whoever runs a server will use."""
    command = ["openssl", "x509", "-in", str(pem), "-noout", "-fingerprint", "-sha256"]
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to compare with")
    return subprocess.check_output(command).strip().partition(b"=")[2]


def test_a_question_can_come_from_a_pipe(
    server: RunningServer, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for argument in ((), ("-",)):
        stdin = io.TextIOWrapper(io.BytesIO(b"the cat sat on the mat\n"))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert ask(server.url, "--json", *argument) == 0
        assert json.loads(capsys.readouterr().out)["prompt_tokens"] > 5


def test_instructions_are_part_of_the_prompt(server: RunningServer, capsys: Captured) -> None:
    ask(server.url, "--json", "the cat")
    plain = json.loads(capsys.readouterr().out)["prompt_tokens"]
    ask(server.url, "--json", "--system", "the dog ran after the cat", "the cat")
    assert json.loads(capsys.readouterr().out)["prompt_tokens"] > plain + 5


def test_seeds_repeat_a_draw(server: RunningServer, capsys: Captured) -> None:
    answers = []
    for _ in range(2):
        arguments = ["ask", "--server", server.url, "--keys", "session", "--json", "--seed", "5"]
        assert (
            main([*arguments, "--temperature", "0.01", "--top-p", "0.5", "--max-tokens", "3", "x"])
            == 0
        )
        answers.append(json.loads(capsys.readouterr().out)["answer"])
    assert answers[0] == answers[1]


def test_the_server_may_come_from_the_environment(server: RunningServer, capsys: Captured) -> None:
    environment.os.environ["TACITA_SERVER"] = server.url
    assert main(["ask", "--keys", "session", "--json", "--max-tokens", "2", "the cat"]) == 0
    assert json.loads(capsys.readouterr().out)["server"] == server.url


def test_the_embedded_server_answers(tacita_home: Path, capsys: Captured) -> None:
    install_tiny(tacita_home)
    arguments = ["ask", "--local", "--model", MODEL, "--keys", "session", "--max-tokens", "2"]
    assert main([*arguments, "--json", "the cat"]) == 0
    assert json.loads(capsys.readouterr().out)["server"] == "local"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", "--server", "http://127.0.0.1:9", "x"], "refused"),
        (["ask", "--server", "ftp://x", "x"], "http"),
        (["ask", "--server", "http://example.test", "x"], "this computer only"),
        (["ask", "--local", "--model", "no-such-model", "x"], "catalogue"),
        (["test", "http://127.0.0.1:9"], ""),
        (["pins", "forget", "https://example.test"], "no such pin"),
    ],
)
@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_failure_is_what_happened_and_what_to_do(
    arguments: list[str], said: str, debug: str, capsys: Captured
) -> None:
    environment.os.environ["TACITA_DEBUG"] = debug
    more = ["--keys", "session"] if arguments[0] == "ask" else []
    assert main([*arguments, *more]) == 1
    printed = capsys.readouterr()
    assert said in printed.err
    if arguments[0] != "test":
        assert ("Traceback" in printed.err) == (debug == "1")
        *_, what, step = printed.err.strip().splitlines()
        assert what.startswith("tacita: ")
        assert step.startswith("  ")


def test_a_failure_is_json_where_json_was_asked_for(capsys: Captured) -> None:
    assert ask("http://127.0.0.1:9", "--json", "x") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "refused"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["shout"],
        ["ask", "--server", "http://x", "--local", "x"],
        ["ask", "--max-tokens", "many", "x"],
        ["ask", "--keys", "anywhere", "x"],
        ["keys"],
        ["pins", "list", "all"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: tacita" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-tokens", "0", "x"],
        ["--temperature", "-1", "x"],
        ["  "],
        ["--token-file", "/absent/file", "x"],
    ],
)
def test_impossible_values_end_with_2(
    arguments: list[str], server: RunningServer, capsys: Captured
) -> None:
    assert main(["ask", "--server", server.url, "--keys", "session", *arguments]) == 2
    assert capsys.readouterr().err.startswith("tacita: ")


def test_the_version_needs_nothing_heavy() -> None:
    code = (
        "import sys, fhe_client.cli as cli\n"
        "try: cli.main(['--version'])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout.split() == ["tacita", __version__, "0", "False", "False"]


def test_test_says_what_a_server_offers(server: RunningServer, capsys: Captured) -> None:
    assert main(["test", server.url]) == 0
    assert MODEL in capsys.readouterr().out
    assert main(["test", server.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "ok"
    assert main(["test", server.url, "--model", "absent"]) == 1


def test_pins_are_listed_and_forgotten(server: RunningServer, capsys: Captured) -> None:
    assert ask(server.url, "the cat") == 0
    capsys.readouterr()
    assert main(["pins", "list"]) == 0
    assert capsys.readouterr().out.startswith(f"{server.url}  {MODEL}  ")
    assert main(["pins", "forget", server.url, "absent"]) == 1
    assert main(["pins", "forget", server.url + "/", MODEL]) == 0
    capsys.readouterr()
    assert main(["pins", "list"]) == 0
    assert server.url not in capsys.readouterr().out


def test_keys_are_mounted(capsys: Captured) -> None:
    assert main(["keys", "use", "session"]) == 0
    assert main(["keys", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["state"] == "session"


def test_ctrl_c_keeps_the_text_and_ends_with_130(tacita_home: Path) -> None:
    with server_process() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "fhe_client.cli", "ask", "--server", server.url, "--keys", "session",
             "--temperature", "0", "--max-tokens", "400", "the house that jack built"],
            cwd=ROOT, env=child_environment(tacita_home), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            first = process.stdout.read(1)
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait(60)
    assert process.returncode == 130, errors
    assert first + rest
    assert b"Traceback" not in errors


def test_the_second_ctrl_c_interrupts() -> None:
    stop = StopOnInterrupt()
    with stop:
        assert not stop.is_set()
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with stop:
        assert not stop.is_set()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_off_the_main_thread_signals_are_left_alone() -> None:
    seen: list[bool] = []

    def work() -> None:
        with StopOnInterrupt() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert seen == [False]


# --- the loop of tacita chat, over a chat that is played ---


class Played:
    """Stands for an open chat: answers with what was asked."""

    model, local, server, epochs_used, tokens_left_in_epoch = MODEL, True, "", 1, 1000

    def __init__(self) -> None:
        self.asked: list[list[Message]] = []
        self.forgotten = 0
        self.fail = False
        self.reason = "end"
        self.continued: list[bool] = []

    def ask(self, messages: list[Message], _options: Any, **how: Any) -> ChatReply:
        self.asked.append(list(messages))
        self.continued.append(how["continuing"])
        if self.fail:
            raise ConnectionLostError("The connection to the server broke.")
        text = f"You said \x1b]0;pwned\x07{messages[-1].content}"
        how["on_prompt"](3, 3)
        how["on_piece"](text)
        values: dict[str, Any] = dict.fromkeys(ChatReply.__dataclass_fields__, 0)
        return ChatReply(
            **{**values, "text": text, "reason": self.reason, "stopped": False, "warning": None}
        )

    def forget(self) -> None:
        self.forgotten += 1

    def traffic(self) -> Any:
        from fhe_client.network.meter import Traffic

        return Traffic(2_000_000, 3_000_000, 7)


def talk(*lines: str, system: str | None = None, played: Played | None = None) -> Played:
    chat = played or Played()
    script = iter(lines)

    def read(_prompt: str) -> str:
        try:
            line = next(script)
        except StopIteration:
            raise EOFError from None
        if line == "^C":
            raise KeyboardInterrupt
        return line

    options, status = GenerationOptions(), StatusLine(io.StringIO())
    TerminalChat(chat, options, system, status, StopOnInterrupt(), read).run()  # type: ignore[arg-type]
    return chat


def test_a_chat_remembers_until_a_new_one_begins(capsys: Captured) -> None:
    chat = talk("one", "", "two", "/new", "three", system="be brief")
    roles = [[m.role for m in asked] for asked in chat.asked]
    assert roles == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
        ["system", "user"],
    ]
    assert chat.forgotten == 1
    assert chat.asked[1][-1].content == "two"


def test_a_reply_that_was_cut_is_continued(capsys: Captured) -> None:
    chat = Played()
    chat.reason = "length"
    talk("/continue", "one", "/continue", "two", played=chat)
    printed = capsys.readouterr().err
    assert printed.count("no unfinished reply") == 1
    assert "/continue goes on" in printed
    assert chat.continued == [False, True, False]
    begun, whole = chat.asked[1][-1], chat.asked[2][1]
    assert begun.role == whole.role == "assistant"
    assert whole.content == f"{begun.content}You said \x1b]0;pwned\x07{begun.content}"
    done = talk("one", "/continue")
    assert done.continued == [False]


def test_lines_can_go_on_and_be_dropped() -> None:
    chat = talk("one\\", "two", "three\\", "^C", "four")
    assert [asked[-1].content for asked in chat.asked] == ["one\ntwo", "four"]


def test_commands_show_figures_and_help_and_leave(capsys: Captured) -> None:
    chat = talk("hello", "/stats", "/help", "/nothing", "/quit", "not asked any more")
    printed = capsys.readouterr()
    assert len(chat.asked) == 1
    assert "2.00 MB up" in printed.err
    assert "/new" in printed.err
    assert "no command /nothing" in printed.err


def test_what_a_model_says_cannot_command_the_terminal(capsys: Captured) -> None:
    talk("hello")
    printed = capsys.readouterr()
    assert printed.out == "You said ]0;pwnedhello\n"


def test_after_a_failure_the_question_is_not_part_of_the_talk(capsys: Captured) -> None:
    chat = Played()
    chat.fail = True
    talk("lost", played=chat)
    assert "The connection to the server broke." in capsys.readouterr().err
    chat.fail = False
    talk("again", played=chat)
    assert [m.content for m in chat.asked[-1]] == ["again"]


# --- where the key comes from ---


class NoKeyring(KeyStore):
    """A profile on a system without a keyring."""

    def open(self, mode: str = "auto", passphrase: str | None = None) -> Any:
        if mode in ("auto", "keyring") and self.status().state not in ("session", "passphrase"):
            raise KeyringUnavailableError("There is no keyring here.", "Choose another way.")
        return super().open(mode, passphrase)


def asking(*answers: str) -> PassphraseInput:
    script = iter(answers)
    return PassphraseInput({}, lambda _prompt: next(script), lambda: bool(answers))


def key_of(mode: str, terminal: bool, answer: str = "", *passphrases: str) -> tuple[str, str]:
    """(where the key comes from, what was said)."""
    said = io.StringIO()
    read: Callable[[str], str] = lambda _prompt: answer  # noqa: E731
    store = NoKeyring(Home.locate())
    with open_master_key(
        mode, store, asking(*passphrases), terminal=lambda: terminal, ask=read, messages=said
    ) as key:
        return key.origin, said.getvalue()


def test_without_a_keyring_and_a_terminal_the_key_is_for_this_session() -> None:
    origin, said = key_of("auto", terminal=False)
    assert origin == "session"
    assert said == "There is no keyring here. Using a key for this session only.\n"


def test_without_a_keyring_a_person_is_asked() -> None:
    assert key_of("auto", True, "")[0] == "session"
    words = "a passphrase of some length"
    assert key_of("auto", True, "p", words, words)[0] == "passphrase"
    assert key_of("auto", True, "", words)[0] == "passphrase"  # now it is known where the key is
    assert key_of("passphrase", True, "", words)[0] == "passphrase"
    with pytest.raises(PassphraseNeededError):
        key_of("auto", False)
    assert key_of("session", False)[0] == "session"


def test_a_keyring_that_was_asked_for_is_never_replaced() -> None:
    with pytest.raises(KeyringUnavailableError):
        key_of("keyring", True, "p", "a passphrase of some length")


def test_defaults_are_the_real_terminal() -> None:
    assert key_access.open_master_key("session").origin == "session"
    assert set(cli._COMMANDS) == {"ask", "chat", "api", "keys", "test", "pins"}
