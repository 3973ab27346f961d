"""A whole model over encrypted HTTP: the same logits as in the clear, the same greedy tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from fhe_client.crypto.errors import SessionClosedError
from fhe_client.crypto.session import RoundReport
from fhe_client.glwe.keys import GlweKeys
from fhe_client.glwe.local_channel import LocalGlweChannel
from fhe_client.glwe.session import GlweSession
from fhe_client.model.files import read_model_files
from fhe_client.model.hybrid import HybridModel, build_hybrid
from fhe_client.network.transport import ServerConnection
from fhe_protocol.errors import FrameError
from fhe_protocol.glwe import MAX_ROWS, query_size
from fhe_server.artefact import Artefact
from fhe_server.glwe.routes import block_weights
from tests.clear_runner import ClearRunner
from tests.glwe_keys import client_keys
from tests.glwe_world import glwe_artefact, glwe_server

PROMPT = [5, 80, 33]


@pytest.fixture(scope="module")
def keys() -> Iterator[GlweKeys]:
    made = client_keys()
    yield made
    made.close()


def hybrid_over(runner: Any, family: str) -> HybridModel:
    folder = glwe_artefact(family)
    files = read_model_files(folder / "client", runner.manifest)
    return build_hybrid(runner.manifest, files, runner)


def greedy(hybrid: HybridModel, count: int) -> tuple[list[int], torch.Tensor]:
    tokens, scores = list(PROMPT), []
    fed = tokens
    for _ in range(count):
        scores.append(hybrid.next_logits(fed))
        fed = [int(scores[-1].argmax())]
        tokens += fed
    return tokens, torch.stack(scores)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_model_over_http_writes_what_it_writes_in_the_clear(family: str, keys: GlweKeys) -> None:
    from fhe_client.glwe.http_channel import HttpGlweChannel

    clear = ClearRunner(glwe_artefact(family))
    due, scores = greedy(hybrid_over(clear, family), 2)
    reports: list[RoundReport] = []
    with glwe_server(glwe_artefact(family)) as server, ServerConnection(server.url) as connection:
        manifest = connection.manifest("tiny")
        channel = HttpGlweChannel(connection.access, manifest, keys.compression_key)
        with GlweSession(manifest, channel, keys, on_round=reports.append) as session:
            found, encrypted = greedy(hybrid_over(session, family), 2)
            channel.close()
        assert session.rounds == len(reports) == len(clear.rounds)
        assert server.counters.rounds == session.rounds
        assert connection.meter.snapshot().rounds == session.rounds
    torch.testing.assert_close(encrypted, scores, rtol=0, atol=0.02 * float(scores.std()))
    assert found == due
    for report in reports:
        assert len(report.frame) == query_size(report.group, report.rows)


@pytest.fixture
def local(keys: GlweKeys) -> LocalGlweChannel:
    artefact = Artefact(glwe_artefact())
    groups = artefact.manifest.groups

    def weights(index: int) -> Any:
        return block_weights(artefact, groups[index], 0, groups[index].outputs)

    return LocalGlweChannel(artefact.manifest, weights, keys.compression_key)


def manifest_of_local() -> Any:
    return Artefact(glwe_artefact()).manifest


def test_values_that_are_no_numbers_do_not_stop_a_round(
    keys: GlweKeys, local: LocalGlweChannel
) -> None:
    manifest = manifest_of_local()
    session = GlweSession(manifest, local, keys)
    session.begin_pass(1)
    x = np.full((1, 8), np.nan, dtype=np.float32)
    answer = session.run_group(manifest.groups[0], x)
    assert np.isfinite(answer).all()
    assert session.rows_until_window_end() == MAX_ROWS


class _Liar:
    """Answers with the bytes of another query."""

    def __init__(self, inner: LocalGlweChannel) -> None:
        self._inner = inner
        self._last: bytes | None = None

    def exchange(self, frame: bytes, answer_size: int) -> bytes:
        if self._last is None:
            self._last = self._inner.exchange(frame, answer_size)
        return self._last


def test_the_answer_to_another_query_is_refused(keys: GlweKeys, local: LocalGlweChannel) -> None:
    manifest = manifest_of_local()
    session = GlweSession(manifest, _Liar(local), keys)
    x = np.ones((1, 8), dtype=np.float32)
    session.run_group(manifest.groups[1], x)
    with pytest.raises(FrameError):
        session.run_group(manifest.groups[1], x)


def test_a_closed_session_computes_nothing(keys: GlweKeys, local: LocalGlweChannel) -> None:
    manifest = manifest_of_local()
    session = GlweSession(manifest, local, keys)
    session.close()
    session.close()
    with pytest.raises(SessionClosedError):
        session.begin_pass(1)
    with pytest.raises(SessionClosedError):
        session.run_group(manifest.groups[0], np.ones((1, 8), dtype=np.float32))
    assert local.bytes_up == 0


def test_tables_are_looked_up_by_encrypted_one_hot_vectors(keys: GlweKeys) -> None:
    """On the manifest of a table; the weights are the test's own."""
    from dataclasses import replace

    manifest = manifest_of_local()
    group = replace(manifest.groups[0], kind="embedding")
    rng = np.random.default_rng(4)
    weights = rng.integers(-60, 61, size=(group.outputs, group.inputs)).astype(np.int8)
    channel = LocalGlweChannel(manifest, lambda _: weights, keys.compression_key)
    scale = np.linspace(0.01, 3, group.inputs).astype(np.float32)
    ids = np.array([6], dtype=np.int64)
    found = GlweSession(manifest, channel, keys).run_embedding(group, ids, scale)
    due = scale[ids][:, None] * weights[:, ids].T
    np.testing.assert_allclose(found, due, atol=1e-4 * np.abs(due).max())
