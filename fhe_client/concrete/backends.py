"""What computes the layers in each mode, opened when the mode is set and closed when it is left."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fhe_client.concrete.quantised import QuantisedGroups
from fhe_client.concrete.runners import ClearRunner, LocalHintServer
from fhe_client.crypto.session import InferenceSession
from fhe_client.glwe.keys import GlweKeys
from fhe_client.glwe.local_channel import LocalGlweChannel
from fhe_client.glwe.opening import check_glwe, make_channel
from fhe_client.glwe.session import GlweSession
from fhe_client.home import Home
from fhe_client.keys import MasterKey
from fhe_client.model.files import GroupScales, read_model_files
from fhe_client.model.runner import LinearRunner
from fhe_client.network.catalogue import ClientFiles
from fhe_client.network.transport import ServerConnection, check_info
from fhe_protocol.glwe import MAX_ROWS
from fhe_protocol.manifest import Group, Manifest

HINT_WINDOW = 256
"""Slots of a window, which are also the most rows of one frame."""


@dataclass(frozen=True)
class Address:
    """A server that serves the model already (`tacita-server import`).

    Attributes:
        model: the name it is served under.
        token: access token, if the server asks for one.
    """

    url: str
    model: str
    token: str | None = None


@dataclass(frozen=True)
class Backend:
    """A runner with what the layers need to use it.

    Attributes:
        rows_at_once: most rows of one round; None for as many as come.
        closing: ends it.
    """

    runner: LinearRunner
    groups: Sequence[Group]
    scales: Mapping[int, GroupScales]
    rows_at_once: int | None
    closing: contextlib.ExitStack


def clear_backend(
    quantised: QuantisedGroups, scheme: str, activation_bits: int | None, simulate: bool
) -> Backend:
    """`disable`, or with noise `simulate`."""
    noise = np.random.default_rng() if simulate else None
    runner = ClearRunner(quantised, scheme, activation_bits, noise)
    return _local(quantised, runner, None, contextlib.ExitStack())


def execute_backend(
    quantised: QuantisedGroups, scheme: str, activation_bits: int | None
) -> Backend:
    """`execute`: both sides in this process, everything encrypted.

    Raises:
        GlweUnavailableError: the library of `glwe` is missing.
    """
    with contextlib.ExitStack() as undo:
        manifest = quantised.manifest
        if scheme == "glwe":
            keys = GlweKeys()
            undo.callback(keys.close)
            local = LocalGlweChannel(
                manifest, lambda index: quantised.weights[index], keys.compression_key
            )
            runner: LinearRunner = GlweSession(
                manifest, local, keys, activation_bits=activation_bits
            )
            return _local(quantised, runner, MAX_ROWS, undo.pop_all())
        server = LocalHintServer(quantised)
        key = undo.enter_context(MasterKey.generate(origin="session"))
        session = InferenceSession(manifest, server, server, key, window_slots=HINT_WINDOW)
        undo.callback(session.close)
        return _local(quantised, session, None, undo.pop_all())


def remote_backend(address: Address, scheme: str, activation_bits: int | None) -> Backend:
    """`remote`: the server's weights and the server's work.

    Raises:
        NetworkError: the server cannot be reached or does not serve the model.
        GlweUnavailableError: `glwe` is not possible here or there.
        ModelFilesError: what the server sent is malformed.
    """
    with contextlib.ExitStack() as undo:
        connection = undo.enter_context(ServerConnection(address.url, token=address.token))
        info = connection.info()
        check_info(info, address.model)
        manifest = connection.manifest(address.model)
        cache = Home.locate().ensure().cache
        folder = ClientFiles(cache).ensure(manifest, connection)
        scales = read_model_files(folder, manifest).scales
        if scheme == "glwe":
            check_glwe(info)
            keys, channel = make_channel(
                undo, manifest, connection, lambda: False, lambda _done, _total: None
            )
            runner: LinearRunner = GlweSession(
                manifest, channel, keys, activation_bits=activation_bits
            )
            return Backend(runner, manifest.groups, scales, MAX_ROWS, undo.pop_all())
        session = _hint_session(undo, manifest, connection)
        return Backend(session, manifest.groups, scales, None, undo.pop_all())


def _hint_session(
    undo: contextlib.ExitStack, manifest: Manifest, connection: ServerConnection
) -> InferenceSession:
    """Hints downloaded and audited."""
    from fhe_client.crypto.audit import audit_hints
    from fhe_client.network.hint_store import HintStore

    hints = HintStore(Home.locate().ensure().cache).ensure(manifest, connection)
    key = undo.enter_context(MasterKey.generate(origin="session"))
    with contextlib.closing(connection.open_rounds(manifest, "audit")) as audit:
        audit_hints(manifest, audit, hints, key)
    channel = connection.open_rounds(manifest)
    undo.callback(channel.close)
    session = InferenceSession(manifest, channel, hints, key, window_slots=HINT_WINDOW)
    undo.callback(session.close)
    return session


def _local(
    quantised: QuantisedGroups,
    runner: LinearRunner,
    rows_at_once: int | None,
    closing: contextlib.ExitStack,
) -> Backend:
    scales = dict(enumerate(quantised.scales))
    return Backend(runner, quantised.manifest.groups, scales, rows_at_once, closing)
