"""The seven invariants of DESIGN.md, a group of tests each: `-k invariant_3` runs the third."""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fhe_client.crypto import secrets as secrets_module
from fhe_client.crypto.errors import SecretWipedError, SessionClosedError, SlotError
from fhe_client.crypto.pads import prepare_window
from fhe_client.crypto.secrets import EpochSecrets
from fhe_client.crypto.session import InferenceSession
from fhe_client.network.meter import TrafficMeter
from fhe_client.network.transport import ServerConnection
from fhe_protocol.manifest import Group
from fhe_protocol.masks import expand_mask
from fhe_protocol.planes import OFFSET, from_planes
from fhe_protocol.wire import parse_query
from tests.fhe_client.crypto.test_ring import naive
from tests.security.world import Arrays, Channel, key, make_world
from tests.servers import CountingProxy, make_artefact, running_server

ROOT = Path(__file__).parents[2]
WORLD = make_world()
LINEAR, TABLE, SPLIT = WORLD.manifest.groups
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
quiet_fork = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


def open_session(channel: Channel | None = None, **options: Any) -> InferenceSession:
    options = {"window_slots": 16, **options}
    return InferenceSession(
        WORLD.manifest, channel or Channel(WORLD.answer), WORLD, key(), **options
    )


def ones(group: Group, rows: int) -> Any:
    return np.ones((rows, group.inputs), dtype=np.float32)


def sent_values(channel: Channel) -> list[tuple[int, Any]]:
    """(group, values) of every frame; each value is 24 bits of pad that may never come again."""
    parsed = [parse_query(frame, WORLD.manifest) for frame in channel.frames]
    return [(h.group, from_planes(np.concatenate(p, axis=2))) for h, p in parsed]


# 1. A slot is used once.


def test_invariant_1_no_pad_is_sent_twice_whatever_happens() -> None:
    """Cancelled rounds, wrong rows, repeats, regenerated answers: of equal plaintexts no two rows are ever equal."""
    fail = {"on": False}

    def flaky(frame: bytes) -> bytes:
        if fail["on"]:
            raise ConnectionError
        return WORLD.answer(frame)

    channel = Channel(flaky)
    with open_session(channel) as session:
        for step in range(40):
            rows = min(1 + step % 3, session.rows_until_window_end())
            session.begin_pass(rows)
            for _ in range(2):
                fail["on"] = step % 4 == 3
                try:
                    session.run_group(LINEAR, ones(LINEAR, rows))
                except (SlotError, ConnectionError):
                    continue
    rows_sent = [row.tobytes() for _, values in sent_values(channel) for row in values]
    assert len(channel.frames) == 40  # every second try was refused before anything left
    assert len(set(rows_sent)) == len(rows_sent) > 40


def test_invariant_1_the_counter_moves_before_bytes_leave() -> None:
    counters: list[int] = []
    session = open_session(Channel(lambda frame: counters.append(sent()) or WORLD.answer(frame)))

    def sent() -> int:
        assert session._window is not None
        return session._window._sent[0]

    with session:
        for rows in (2, 3):
            session.begin_pass(rows)
            session.run_group(LINEAR, ones(LINEAR, rows))
    assert counters == [2, 5]


def test_invariant_1_a_pass_takes_slots_that_no_other_takes() -> None:
    with open_session() as session:
        session.begin_pass(3)
        session.begin_pass(4)  # the first pass was abandoned: its slots are lost
        session.run_group(LINEAR, ones(LINEAR, 4))
        assert session.tokens_left_in_epoch == 1024 - 7
        assert session._window is not None
        assert session._window._sent[0] == 7


def test_invariant_1_windows_of_an_epoch_do_not_overlap() -> None:
    world = make_world((("linear", 2, (0, 3)),))
    firsts: list[tuple[int, int]] = []
    with InferenceSession(
        world.manifest, Channel(world.answer), world, key(), window_slots=256
    ) as session:
        for _ in range(9):
            session.begin_pass(session.rows_until_window_end())
            assert session._window is not None
            firsts.append((session._window.first, session._window.count))
    whole = [(f, 256) for f in (256, 512, 768, 0, 256, 512, 768)]
    assert firsts == [(0, 64), (64, 192), *whole]


def test_invariant_1_preparing_again_draws_no_new_error() -> None:
    secrets = EpochSecrets(key(), WORLD.manifest.parameters)
    windows = [prepare_window(WORLD.manifest, secrets, WORLD, 0, 4) for _ in range(2)]
    for part in range(len(WORLD.manifest.parts)):
        one, other = (w.take_query_pad(part, 0, 4) & 0xFFFFFF for w in windows)
        assert np.array_equal(one, other)


@forks
@quiet_fork
def test_invariant_1_a_fork_cannot_send() -> None:
    channel = Channel(WORLD.answer)
    with open_session(channel) as session:
        session.begin_pass(2)
        child = os.fork()
        if child == 0:  # no pytest in here: say it with the exit status
            status = 1
            try:
                session.run_group(LINEAR, ones(LINEAR, 2))
            except SessionClosedError:
                status = 0 if not channel.frames else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        session.run_group(LINEAR, ones(LINEAR, 2))  # the parent goes on


# 2. A retry resends the identical bytes.


def test_invariant_2_a_retry_resends_the_identical_bytes(tmp_path: Path) -> None:
    """Through the real channel: the connection is cut in the middle of an answer, and again."""
    manifest = make_artefact(tmp_path / "tiny")
    group = manifest.groups[0]
    hints = read_hints(tmp_path / "tiny" / "hints.bin", manifest)
    x = np.random.default_rng(1).normal(size=(8, group.inputs)).astype(np.float32)
    reports: list[bytes] = []
    with (
        running_server(tmp_path / "tiny") as server,
        CountingProxy(server.port, keep=True) as proxy,
    ):
        connection = ServerConnection(proxy.url, meter=TrafficMeter())
        channel = connection.open_rounds(manifest)
        session = InferenceSession(
            manifest,
            channel,
            hints,
            key(),
            window_slots=16,
            on_round=lambda report: reports.append(report.frame),
        )
        with session:
            session.begin_pass(8)
            channel.open()  # the handshake is over: the next bytes down are the answer
            proxy.cut_after_down = proxy.down + 1
            found = session.run_group(group, x)
            channel.close()
    assert server.counters.rounds >= 2  # it was asked twice
    assert proxy.connections >= 2
    assert np.isfinite(found).all()
    assert len(reports) == 1
    copies = unmasked(bytes(proxy.sent)).count(reports[0]) + bytes(proxy.sent).count(reports[0])
    assert copies >= 2


def read_hints(path: Path, manifest: Any) -> Arrays:
    data = np.fromfile(path, dtype="<u2")
    cuts = np.array(manifest.hint_offsets) // 2
    return Arrays([data[a:b].reshape(-1, 1024) for a, b in pairwise(cuts)])


def unmasked(stream: bytes) -> bytes:
    """The payloads of all client frames in a copy of a WebSocket's bytes, one after the other."""
    out, rest = [], stream
    while (place := rest.find(b"\r\n\r\n")) >= 0:
        position = place + 4
        while (
            position + 2 <= len(rest) and rest[position] & 0x70 == 0 and rest[position + 1] & 0x80
        ):
            length, position = rest[position + 1] & 0x7F, position + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                length = int.from_bytes(rest[position : position + size], "big")
                position += size
            mask = np.frombuffer(rest[position : position + 4], dtype=np.uint8)
            body = np.frombuffer(rest[position + 4 : position + 4 + length], dtype=np.uint8)
            if len(mask) == 4:
                out.append((body ^ np.resize(mask, body.size)).tobytes())
            position += 4 + length
        rest = rest[max(position, place + 4) :]
    return b"|".join(out)


# 3. Secrets are many and die young. The attack itself is test_forged_hint.py.


def test_invariant_3_every_group_part_and_epoch_has_a_secret_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: dict[bytes, set[int]] = {}
    draw = EpochSecrets.secret

    def watched(self: EpochSecrets, part_index: int) -> Any:
        secret = draw(self, part_index)
        drawn.setdefault(secret.tobytes(), set()).add(part_index)
        return secret

    monkeypatch.setattr(EpochSecrets, "secret", watched)
    for _ in range(2):
        with open_session() as session:
            session.prepare()
    assert len(drawn) == 2 * len(WORLD.manifest.parts)
    assert all(len(parts) == 1 for parts in drawn.values())


def test_invariant_3_pads_use_the_secret_of_their_own_part() -> None:
    """What is sent for a zero input is A*s + e with the s of that part, and of no other."""
    secrets = EpochSecrets(key(), WORLD.manifest.parameters)
    window = prepare_window(WORLD.manifest, secrets, WORLD, 0, 2)
    for index, (group, part) in enumerate(WORLD.manifest.parts):
        pads = window.take_query_pad(index, 0, 2).astype(np.int64) - OFFSET
        name = WORLD.manifest.mask_name(group, part)
        mask = expand_mask(WORLD.manifest.parameters, name).astype(np.int64)
        for other in range(len(WORLD.manifest.parts)):
            rest = pads - naive(mask, secrets.secret(other))[:, :2].T
            centred = (rest + (1 << 23)) % (1 << 24) - (1 << 23)
            assert bool((np.abs(centred) <= 5).all()) == (other == index)


def test_invariant_3_a_restored_backup_repeats_no_secret() -> None:
    """The same profile and keyring, twice: the process's own nonce tells the epochs apart."""
    channels = [Channel(WORLD.answer), Channel(WORLD.answer)]
    for channel in channels:
        with open_session(channel) as session:
            session.begin_pass(4)
            session.run_group(LINEAR, ones(LINEAR, 4))
    first, second = (values for c in channels for _, values in sent_values(c))
    assert float((first == second).mean()) < 0.05


@forks
@quiet_fork
def test_invariant_3_secrets_die_on_fork() -> None:
    secrets = EpochSecrets(key(), WORLD.manifest.parameters)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            secrets.secret(0)
        except SecretWipedError:
            status = 0 if bytes(secrets._key) == bytes(32) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert secrets.secret(0).any()


def test_invariant_3_a_spent_epoch_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[EpochSecrets] = []

    class Watched(EpochSecrets):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr("fhe_client.crypto.window_maker.EpochSecrets", Watched)
    world = make_world((("linear", 2, (0, 3)),))
    with InferenceSession(
        world.manifest, Channel(world.answer), world, key(), window_slots=512
    ) as session:
        for _ in range(6):
            session.begin_pass(session.rows_until_window_end())
        assert len(made) >= 2
        assert made[0]._wiped
    assert all(secrets._wiped for secrets in made)


# 4. Secret randomness comes from the operating system.


@pytest.fixture
def no_global_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a global generator was asked")

    for name in ("rand", "randn", "randint", "bytes", "random", "choice", "normal", "default_rng"):
        monkeypatch.setattr(np.random, name, refuse)
    for name in ("rand", "randn", "randint", "randperm", "bernoulli", "normal", "rand_like"):
        monkeypatch.setattr(torch, name, refuse)
    for name in ("random", "randint", "randbytes", "getrandbits", "sample", "choice", "shuffle"):
        monkeypatch.setattr(random, name, refuse)


def test_invariant_4_no_global_generator_is_asked(no_global_generators: None) -> None:
    states = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()
    from fhe_client.crypto.audit import audit_hints

    with open_session() as session:
        session.begin_pass(2)
        session.run_group(LINEAR, ones(LINEAR, 2))
        session.run_embedding(TABLE, np.array([3, 40]), None)
    audit_hints(WORLD.manifest, Channel(WORLD.answer), WORLD, key())
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tobytes() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_invariant_4_public_seeds_change_nothing() -> None:
    """The same seeds before two sessions: a reseeded generator would make them equal."""
    channels = []
    for _ in range(2):
        random.seed(1)
        np.random.seed(1)  # the generator that must not be used
        torch.manual_seed(1)
        channels.append(Channel(WORLD.answer))
        with open_session(channels[-1]) as session:
            session.begin_pass(2)
            session.run_group(LINEAR, ones(LINEAR, 2))
    first, second = (values for c in channels for _, values in sent_values(c))
    assert float((first == second).mean()) < 0.1


def test_invariant_4_the_system_gives_every_epoch_32_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    system = os.urandom
    monkeypatch.setattr(secrets_module.os, "urandom", lambda n: asked.append(n) or system(n))
    EpochSecrets(key(), WORLD.manifest.parameters)
    assert asked == [32]


CORE = sorted(path.stem for path in (ROOT / "fhe_client/crypto").glob("[!_]*.py"))


@pytest.mark.parametrize("name", CORE)
def test_invariant_4_no_source_names_a_global_generator(name: str) -> None:
    tree = ast.parse((ROOT / "fhe_client/crypto" / f"{name}.py").read_text())
    dotted = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used = {
        d for d in dotted if d.startswith(("np.random", "torch.rand", "torch.normal", "random."))
    }
    assert used <= {"random.SystemRandom", "random.SystemRandom().sample"}


# 5. Nothing a server sends is trusted: the hostile suites. Here: what is sent does not depend on what was decrypted.


def test_invariant_5_what_is_sent_does_not_depend_on_answers() -> None:
    """Groups, rows, sizes and order of a session are the same for an honest and a lying server."""

    def lie(frame: bytes) -> bytes:
        honest = WORLD.answer(frame)
        return honest[:12] + b"\x7f\x80" * ((len(honest) - 12) // 2)

    shapes = []
    for server in (WORLD.answer, lie):
        channel = Channel(server)
        with open_session(channel) as session:
            for _ in range(3):
                session.begin_pass(2)
                y = session.run_group(LINEAR, ones(LINEAR, 2))
                x = np.resize(y, (2, SPLIT.inputs)).astype(np.float32)
                session.run_group(SPLIT, x * np.float32(1e30))
        shapes.append([(len(f), f[8:12]) for f in channel.frames])
    assert shapes[0] == shapes[1]


# 6. The server imports no code that can hold a secret.

LOADED = """
import importlib, pkgutil, sys, fhe_server
for module in pkgutil.walk_packages(fhe_server.__path__, "fhe_server."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(sorted(m for m in sys.modules if m.partition(".")[0] in ("fhe_client", "app", "keyring", "argon2")))
"""


def test_invariant_6_the_server_loads_nothing_that_holds_secrets() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert run.stdout.strip() == "[]"


def test_invariant_6_the_protocol_package_knows_no_secret() -> None:
    for path in (ROOT / "fhe_protocol").glob("*.py"):
        names = {n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.alias)}
        assert names.isdisjoint({"secrets", "random", "fhe_client", "keyring"})


def test_invariant_6_a_server_keeps_nothing_of_a_conversation(tmp_path: Path) -> None:
    from fhe_server.artefact import Artefact
    from fhe_server.service.app import ServedModel

    manifest = make_artefact(tmp_path / "tiny")
    served = ServedModel(Artefact(tmp_path / "tiny"))
    served.load()  # weights are no part of a conversation
    before = {name: id(value) for name, value in vars(served).items()}
    hints = read_hints(tmp_path / "tiny" / "hints.bin", manifest)
    channel = Channel(served.answer)
    with InferenceSession(manifest, channel, hints, key(), window_slots=16) as session:
        session.begin_pass(2)
        session.run_group(manifest.groups[0], ones(manifest.groups[0], 2))
    assert {name: id(value) for name, value in vars(served).items()} == before
    # Stateless: the same question has the same answer, whoever asked in between.
    assert served.answer(channel.frames[0]) == served.answer(channel.frames[0])


# 7. Rows of the embedding are never fetched by token id.


def test_invariant_7_a_look_up_sends_the_same_shape_for_every_token() -> None:
    shapes = set()
    for token in (0, 29, 30, 49):
        channel = Channel(WORLD.answer)
        with open_session(channel) as session:
            session.begin_pass(1)
            session.run_embedding(TABLE, np.array([token]), None)
        frame = channel.frames[0]
        shapes.add((len(channel.frames), len(frame), frame[8:12]))
        payload = np.frombuffer(frame[12:], dtype=np.uint8)
        assert len(np.unique(payload)) > 60  # 150 bytes of mask, not one that stands out
    assert len(shapes) == 1


def test_invariant_7_the_same_token_never_looks_the_same() -> None:
    channel = Channel(WORLD.answer)
    with open_session(channel) as session:
        for _ in range(6):
            session.begin_pass(1)
            session.run_embedding(TABLE, np.array([7]), None)
    rows = [values for _, values in sent_values(channel)]
    for k, one in enumerate(rows):
        for other in rows[k + 1 :]:
            assert float((one == other).mean()) < 0.1


def test_invariant_7_no_route_takes_a_token_id() -> None:
    from fhe_server.service.app import create_app

    paths = {getattr(route, "path", "") for route in create_app({}).routes}
    parameters = {p for path in paths for p in path.split("{")[1:]}
    assert parameters <= {"name}/manifest", "name}/files/", "path}", "name}/hints", "name}/rounds"}


def test_no_thread_of_a_session_is_left_behind() -> None:
    before = threading.active_count()
    with open_session() as session:
        session.begin_pass(1)
    assert threading.active_count() <= before
