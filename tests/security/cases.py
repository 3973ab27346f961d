"""Hostile input by the case: shared by the short suites in CI and the long campaign of scripts/fuzz.

`server_lies` are answers a lying server gives; `mutate` makes rubbish of a good byte string from a seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from fhe_protocol.errors import ProtocolError
from fhe_protocol.manifest import parse_manifest
from fhe_protocol.wire import HEADER, FrameHeader, answer_size, parse_answer, parse_query
from tests.security.world import World

Lie = Callable[[bytes, bytes], bytes]
"""(query frame, honest answer) -> what is sent instead."""


def _header(position: int, value: bytes) -> Lie:
    return lambda _query, good: good[:position] + value + good[position + len(value) :]


REFUSED: dict[str, Lie] = {
    "nothing": lambda _q, _a: b"",
    "half a header": lambda _q, good: good[:6],
    "a header only": lambda _q, good: good[:12],
    "one byte short": lambda _q, good: good[:-1],
    "one byte long": lambda _q, good: good + b"\0",
    "twice as long": lambda _q, good: good + good,
    "a megabyte more": lambda _q, good: good + bytes(1 << 20),
    "the query itself": lambda query, _a: query,
    "text": lambda _q, _a: b'{"error":{"code":"x","message":"y"}}',
    "other magic": _header(0, b"XX"),
    "other version": _header(2, b"\2"),
    "reserved byte set": _header(3, b"\1"),
    "other request": _header(4, b"\xee\xee\xee\xee"),
    "other group": _header(8, b"\2\0"),
    "group beyond the model": _header(8, b"\xff\xff"),
    "more rows": _header(10, b"\5\0"),
    "no rows": _header(10, b"\0\0"),
    "65,535 rows": _header(10, b"\xff\xff"),
}
"""Lies that show in the frame: a FrameError, one slot lost, nothing sent again."""

GARBAGE: dict[str, Lie] = {
    "zeros": lambda _q, good: good[:12] + bytes(len(good) - 12),
    "ones": lambda _q, good: good[:12] + b"\xff" * (len(good) - 12),
    "the largest values": lambda _q, good: good[:12] + b"\xff\x7f" * ((len(good) - 12) // 2),
    "the smallest values": lambda _q, good: good[:12] + b"\0\x80" * ((len(good) - 12) // 2),
    "one bit": lambda _q, good: good[:20] + bytes([good[20] ^ 1]) + good[21:],
    "reversed": lambda _q, good: good[:12] + good[:11:-1],
    "bytes of the query": lambda query, good: good[:12] + (query[12:] * 9)[: len(good) - 12],
}
"""Lies that only decryption could notice: garbage comes out, and the session goes on as if it were true."""


def mutate(rng: random.Random, good: bytes) -> bytes:
    """A spoiled copy: cut, grown, bits flipped, pieces moved, or rubbish altogether."""
    data = bytearray(good)
    for _ in range(rng.choice((1, 1, 2, 4, 9))):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            del data[place:]
        elif kind == 1:
            data[place:place] = rng.randbytes(rng.randrange(1, 20))
        elif kind == 2 and data:
            data[place % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 3:
            del data[place : place + rng.randrange(1, 20)]
        elif kind == 4:
            data[place : place + 8] = rng.choice(_TOKENS)
        elif kind == 5 and len(data) > HEADER.size:
            data[rng.randrange(HEADER.size)] = rng.randrange(256)
        elif kind == 6:
            data += data[place : place + 50]
    return bytes(data)


_TOKENS = (
    b"1e999",
    b"NaN",
    b"-1",
    b"null",
    b"[[[[[[[[",
    b"{",
    b'"',
    b"\\u0000",
    b"9" * 8,
    b"\xff" * 8,
)


def campaign(world: World, seed: int) -> Iterator[str]:
    """Endless spoiled inputs for every parser; yields what became of each.

    Raises:
        Exception: a parser raised something that is no ProtocolError. That is the finding.
    """
    rng = random.Random(seed)  # public: it only makes rubbish
    query, answers = _good_frames(world)
    manifest = world.manifest.to_bytes()
    header = FrameHeader(7, 1, 2)
    group = world.manifest.groups[1]
    parsers: tuple[tuple[str, Callable[[bytes], object], bytes], ...] = (
        ("query", lambda data: parse_query(data, world.manifest), query),
        ("answer", lambda data: parse_answer(data, group, header), answers),
        ("manifest", parse_manifest, manifest),
    )
    while True:
        name, parse, good = parsers[rng.choice((0, 0, 0, 1, 1, 1, 2))]
        data = mutate(rng, good) if rng.random() < 0.9 else rng.randbytes(rng.randrange(400))
        try:
            parse(data)
        except ProtocolError:
            yield f"{name} refused"
        else:
            yield f"{name} accepted"


def _good_frames(world: World) -> tuple[bytes, bytes]:
    group = world.manifest.groups[1]
    query = HEADER.pack(b"TQ", 1, 0, 7, 1, 2) + bytes(3 * 2 * group.inputs)
    answer = HEADER.pack(b"TA", 1, 0, 7, 1, 2) + bytes(answer_size(group, 2) - HEADER.size)
    return query, answer
