from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fhe_client.model.errors import ModelError, PromptTooLongError, TemplateError
from fhe_client.model.files import read_model_files
from fhe_client.model.hybrid import build_hybrid
from fhe_client.text.chat import Chat, ChatReply
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import Message
from tests.clear_runner import ClearRunner
from tests.small_artefacts import CONTEXT, write_artefact

OPTIONS = GenerationOptions(max_tokens=12, temperature=0)
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("chat")
    write_artefact(root / "chat", "llama")
    write_artefact(root / "plain", "gpt2", template=None)
    return {"chat": root / "chat", "plain": root / "plain"}


def open_chat(folder: Path) -> tuple[Chat, ClearRunner]:
    runner = ClearRunner(folder)
    files = read_model_files(folder / "client", runner.manifest)
    hybrid = build_hybrid(runner.manifest, files, runner)
    return Chat(hybrid, files, lambda: (3 * runner.slots, 2 * runner.slots)), runner


@pytest.fixture
def chat(folders: dict[str, Path]) -> Iterator[Chat]:
    chat, _ = open_chat(folders["chat"])
    yield chat
    chat.close()


def user(text: str) -> Message:
    return Message("user", text)


def test_reply_has_the_fields_of_the_engine_protocol() -> None:
    protocol = (
        "text stopped prompt_tokens reply_tokens seconds_first seconds_per_token bytes_up bytes_down "
        "rounds truncated_turns reason"
    )
    assert set(protocol.split()) <= {f.name for f in fields(ChatReply)}


def test_two_turns(chat: Chat) -> None:
    pieces: list[str] = []
    talk = [Message("system", "Be brief."), user("Hello")]
    first = chat.ask(talk, OPTIONS, on_piece=pieces.append)
    assert first.text == "".join(pieces)
    assert first.text
    assert first.reply_tokens == 12
    # Byte tokens: the text, the two marks of each turn, and the opened turn of the reply.
    rendered = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    plain = rendered.replace("<|im_start|>", "1").replace("<|im_end|>", "2")
    assert first.prompt_tokens == len(plain)
    assert first.truncated_turns == 0
    assert first.bytes_up == 3 * (first.prompt_tokens + 11)
    assert first.bytes_down == 2 * (first.prompt_tokens + 11)
    assert first.warning is None
    talk += [Message("assistant", first.text), user("And now?")]
    size = chat.measure(talk, OPTIONS)
    second = chat.ask(talk, OPTIONS)
    assert second.prompt_tokens == size.prompt_tokens
    assert second.reused_tokens == size.prompt_tokens - size.new_tokens
    assert second.reused_tokens >= first.prompt_tokens
    chat.forget()
    assert chat.ask(talk, OPTIONS).text == second.text


def test_stop(chat: Chat) -> None:
    reply = chat.ask([user("Hello")], OPTIONS, should_stop=lambda: True)
    assert (reply.text, reply.stopped, reply.reason) == ("", True, "stopped")
    assert reply.rounds == 0
    assert reply.seconds_first is None


def test_oldest_turns_are_left_out_when_the_context_is_full(chat: Chat) -> None:
    talk = [Message("system", "S" * 10)]
    for number in range(12):
        talk += [user(f"{number} " + "q" * 30), Message("assistant", "a" * 30)]
    talk.append(user("last"))
    size = chat.measure(talk, OPTIONS)
    assert size.truncated_turns == 8
    assert size.prompt_tokens <= CONTEXT - 12
    assert chat.ask(talk, OPTIONS).truncated_turns == 8
    small = [talk[0], user("x" * 200), Message("assistant", "y" * 300), user("z" * 200)]
    assert chat.measure(small, OPTIONS).truncated_turns == 1
    with pytest.raises(PromptTooLongError) as caught:
        chat.ask([user("x" * CONTEXT)], OPTIONS)
    assert caught.value.next_step


def test_a_long_history_is_not_read_again_for_every_turn(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = [user(f"{number} " + "q" * 30) for number in range(1000)]
    counted, encode = 0, chat._encode

    def counting(*arguments: Any) -> list[int]:
        nonlocal counted
        counted += 1
        return encode(*arguments)

    monkeypatch.setattr(chat, "_encode", counting)
    dropped = chat.measure(talk, OPTIONS).truncated_turns
    assert dropped % 4 == 0
    assert counted <= 11
    with pytest.raises(PromptTooLongError):
        chat.measure([*talk[:-1], user("x" * CONTEXT)], OPTIONS)
    fewer = [talk[0], *talk[dropped - 4 :]]  # as many as one step less would leave, and one more
    assert chat.measure(fewer, OPTIONS).truncated_turns > 0


@pytest.mark.parametrize(
    "talk", [[], [Message("system", "x")], [user("x"), Message("assistant", "y")]]
)
def test_there_must_be_something_to_answer(chat: Chat, talk: list[Message]) -> None:
    with pytest.raises(ModelError, match="last message"):
        chat.ask(talk, OPTIONS)


@pytest.mark.parametrize("kind", ["chat", "plain"])
def test_a_reply_that_was_cut_is_continued_as_if_it_had_not_been(
    kind: str, folders: dict[str, Path]
) -> None:
    chat, runner = open_chat(folders[kind])
    talk = [user("Hello"), Message("assistant", "Well, <|im_end|>"), user("And")]
    begun = [*talk, Message("assistant", "The <|im_start|> is ")]
    opened = chat._encode(talk, False)
    going_on = chat._encode(begun, True)
    tokens = chat._files.tokenizer.encode(
        "The <|im_start|> is ", add_special_tokens=False, split_special_tokens=True
    )
    if kind == "plain":
        tokens = [*chat._files.tokenizer.encode(" ", add_special_tokens=False), *tokens]
    assert going_on == [*opened, *tokens], "nothing stands behind the text that is continued"
    size = chat.measure(begun, OPTIONS, continuing=True)
    assert size.prompt_tokens == len(going_on)
    reply = chat.ask(begun, OPTIONS, continuing=True)
    assert reply.prompt_tokens == size.prompt_tokens
    assert sum(runner.passes) == len(going_on) + 11
    assert reply.text == clear_text(chat, going_on, 12)
    chat.close()


def clear_text(chat: Chat, prompt: list[int], count: int) -> str:
    """What greedy decoding writes behind these tokens, from scratch."""
    chat.forget()
    tokens, tokenizer = list(prompt), chat._files.tokenizer
    for _ in range(count):
        start = len(chat._hybrid.cache)
        scores = chat._hybrid.logits(tokens[start:], 1)
        tokens.append(int(scores[0].argmax()))
    text: str = tokenizer.decode(tokens[len(prompt) :], skip_special_tokens=True)
    return text[:-1] if text.endswith("\ufffd") and not text.endswith("\ufffd\ufffd") else text


@pytest.mark.parametrize(
    "talk", [[], [user("x")], [user("x"), Message("assistant", "")], [Message("system", "x")]]
)
def test_there_must_be_a_reply_to_continue(chat: Chat, talk: list[Message]) -> None:
    with pytest.raises(ModelError, match="no reply to continue"):
        chat.ask(talk, OPTIONS, continuing=True)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m['content'] }}{{ m['content'] }}{% endfor %}",
        "{% for m in messages %}{{ m['role'] }}{% endfor %}",
    ],
)
def test_a_template_that_cannot_continue_says_so(template: str, tmp_path: Path) -> None:
    write_artefact(tmp_path / "m", "llama", template=template)
    chat, runner = open_chat(tmp_path / "m")
    with pytest.raises(TemplateError, match="cannot continue") as caught:
        chat.ask([user("x"), Message("assistant", "begun")], OPTIONS, continuing=True)
    assert "new reply" in caught.value.next_step
    assert runner.rounds == []
    chat.close()


def test_model_without_a_template(folders: dict[str, Path]) -> None:
    chat, runner = open_chat(folders["plain"])
    reply = chat.ask([user("Hello")], OPTIONS)
    assert reply.prompt_tokens == len("User: Hello\nAssistant:")
    assert sum(runner.passes) == reply.prompt_tokens + reply.reply_tokens - 1
    chat.close()


def test_hostile_template_ends_with_a_clear_error(tmp_path: Path) -> None:
    write_artefact(tmp_path / "m", "llama", template=ENDLESS)
    chat, runner = open_chat(tmp_path / "m")
    assert chat._renderer is not None
    chat._renderer._warm = True  # it need not start within the limit: it is to be ended either way
    chat._renderer._render_seconds = 0.5
    with pytest.raises(TemplateError, match="too long"):
        chat.ask([user("Hello")], OPTIONS)
    assert runner.rounds == []
    chat.close()


def test_no_text_is_logged(
    chat: Chat, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = chat.ask([user("a very secret question")], OPTIONS)
    written = caplog.text + "".join(capfd.readouterr())
    assert "secret" not in written
    assert reply.text not in written
    assert "secret" not in repr(reply)
    assert reply.text not in repr(reply)


def test_message_cannot_write_control_tokens(chat: Chat) -> None:
    """One character more or less is one token: the mark counts as its ten characters, not as one token."""
    with_mark = chat.measure([user("a<|im_end|>")], OPTIONS).prompt_tokens
    without = chat.measure([user("a")], OPTIONS).prompt_tokens
    assert with_mark - without == len("<|im_end|>")


def test_a_new_chat_reads_the_same_system_prompt_only_once(
    chat: Chat, folders: dict[str, Path]
) -> None:
    system = Message("system", "Be brief. Answer like a lighthouse keeper.")
    chat.ask([system, user("Hello")], OPTIONS)
    new = [system, user("What is a fog horn?")]
    reply = chat.ask(new, OPTIONS)
    shared = len("1system\n" + system.content + "2\n1user\n")
    assert reply.reused_tokens == shared
    fresh, _ = open_chat(folders["chat"])
    due = fresh.ask(new, OPTIONS)
    fresh.close()
    assert due.reused_tokens == 0
    assert reply.text == due.text
