"""Conversations longer than an epoch of slots, and longer than the model's window, through the real protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fhe_client.crypto.session import InferenceSession
from fhe_client.keys import MasterKey
from fhe_client.model.files import ModelFiles, read_model_files
from fhe_client.model.hybrid import HybridModel, build_hybrid
from fhe_client.text.chat import Chat
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import Message
from fhe_server.artefact import Artefact
from fhe_server.imports.importing import import_model
from fhe_server.service.app import ServedModel
from tests.clear_runner import ClearRunner
from tests.tiny_models import save_tiny

WINDOW = 1400


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    root = tmp_path_factory.mktemp("long")
    heads = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    shape = {"num_hidden_layers": 1, "max_position_embeddings": WINDOW, **heads}
    save_tiny(root / "source", "llama", **shape)
    return Artefact(import_model(str(root / "source"), root / "models", "tiny").folder)


@dataclass(frozen=True)
class Hints:
    artefact: Artefact

    def read(self, part_index: int) -> NDArray[np.uint16]:
        offsets = self.artefact.manifest.hint_offsets
        start, stop = offsets[part_index : part_index + 2]
        flat = np.fromfile(
            self.artefact.hints_path, dtype="<u2", count=(stop - start) // 2, offset=start
        )
        return flat.reshape(-1, self.artefact.manifest.parameters.ring_degree)


@dataclass(frozen=True)
class Channel:
    served: ServedModel

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        return self.served.answer(frame)


@contextmanager
def encrypted(artefact: Artefact) -> Iterator[tuple[HybridModel, ModelFiles, InferenceSession]]:
    files = read_model_files(artefact.folder / "client", artefact.manifest)
    with (
        MasterKey.generate(origin="session") as key,
        InferenceSession(
            artefact.manifest, Channel(ServedModel(artefact)), Hints(artefact), key
        ) as session,
    ):
        yield build_hybrid(artefact.manifest, files, session), files, session


def clear_twin(artefact: Artefact) -> tuple[HybridModel, ModelFiles]:
    files = read_model_files(artefact.folder / "client", artefact.manifest)
    runner = ClearRunner(artefact.folder)
    return build_hybrid(artefact.manifest, files, runner), files


def read_all(hybrid: HybridModel, tokens: list[int]) -> torch.Tensor:
    """Scores after the last token, read in passes that fit the windows of slots."""
    scores = torch.zeros(0)
    while tokens:
        rows = min(len(tokens), hybrid.runner.rows_until_window_end())
        scores = hybrid.logits(tokens[:rows], 1)[0]
        tokens = tokens[rows:]
    return scores


def assert_close(found: torch.Tensor, due: torch.Tensor) -> None:
    """Within the noise of decryption: other tokens' scores would be off by as much as they are large."""
    error = float((found - due).norm() / (due - due.mean()).norm())
    assert error < 0.1


def test_a_context_longer_than_an_epoch_is_read_and_continued(artefact: Artefact) -> None:
    tokens = [3 + (7 * k * k + k) % 290 for k in range(1100)]
    twin, _ = clear_twin(artefact)
    with encrypted(artefact) as (hybrid, _, session):
        assert_close(read_all(hybrid, tokens[:1015]), read_all(twin, tokens[:1015]))
        assert session.tokens_left_in_epoch == 1024 - 1015
        for token in tokens[1015:1030]:  # one by one over the end of the epoch
            assert_close(hybrid.next_logits([token]), twin.next_logits([token]))
        assert session.tokens_left_in_epoch == 2 * 1024 - 1030
        assert_close(read_all(hybrid, tokens[1030:]), read_all(twin, tokens[1030:]))
        assert len(hybrid.cache) == 1100


def test_a_conversation_beyond_the_models_window_drops_its_oldest_turns_and_says_so(
    artefact: Artefact,
) -> None:
    options = GenerationOptions(max_tokens=8, temperature=0)
    talk: list[Message] = [Message("system", "be kind")]
    for number in range(7):
        talk += [Message("user", f"{number} " + "q" * 120), Message("assistant", "a" * 120)]
    with encrypted(artefact) as (hybrid, files, session):
        chat = Chat(hybrid, files)
        try:
            fits = chat.ask([*talk[:9], Message("user", "and now")], options)
            assert fits.truncated_turns == 0
            long = chat.ask([*talk, Message("user", "and now")], options)
        finally:
            chat.close()
        assert session.epochs_used >= 2
    assert long.truncated_turns > 0
    assert long.prompt_tokens <= WINDOW - options.max_tokens
    assert long.reply_tokens >= 1
    twin, files = clear_twin(artefact)
    chat = Chat(twin, files)
    try:
        kept = [talk[0], *talk[1 + 2 * long.truncated_turns :], Message("user", "and now")]
        assert chat.measure(kept, options).truncated_turns == 0
        assert chat.measure(kept, options).prompt_tokens == long.prompt_tokens
    finally:
        chat.close()
