"""Hostile input by the case: shared by the short suites in CI and the long campaign of scripts/fuzz.

`server_lies` are answers a lying server gives; `mutate` makes rubbish of a good byte string from a seed.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from fhe_protocol.wire import HEADER
from tests.security.parsers import ALLOWED, parsers
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


_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 10**30, -(10**30), 1e308, "", "x", "\ud800", "\0", [], {}, [[]], [None], {"": {}},
)  # fmt: skip


def mutate_json(rng: random.Random, good: bytes) -> bytes:
    """A document of the same shape in which some values are others, missing or new."""
    document = json.loads(good)
    for _ in range(rng.choice((1, 1, 2, 3))):
        node: Any = document
        while True:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            if not keys:
                break
            step = rng.choice(list(keys))
            if isinstance(node[step], dict | list) and node[step] and rng.random() < 0.8:
                node = node[step]
                continue
            _change(rng, node, step)
            break
    return json.dumps(document).encode()


def _change(rng: random.Random, node: Any, step: Any) -> None:
    kind = rng.randrange(5)
    if kind == 0:
        del node[step]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(("", "x", step + "s"))] = rng.choice(_VALUES)
    elif kind == 1:
        node.append(copy.deepcopy(node[step]))
    else:
        node[step] = copy.deepcopy(rng.choice(_VALUES))


def _spoiled(rng: random.Random, good: bytes) -> bytes:
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(400))
    if good.startswith(b"{") and rng.random() < 0.6:
        return mutate_json(rng, good)
    return mutate(rng, good)


def campaign(world: World, seed: int) -> Iterator[str]:
    """Endless spoiled inputs for every parser; yields what became of each.

    Raises:
        Exception: a parser raised something that it may not. That is the finding.
    """
    rng = random.Random(seed)  # public: it only makes rubbish
    all_of_them = list(parsers(world).values())
    weights = [parser.weight for parser in all_of_them]
    while True:
        (parser,) = rng.choices(all_of_them, weights)
        data = _spoiled(rng, parser.good)
        try:
            parser.parse(data)
        except ALLOWED:
            yield f"{parser.name} refused"
        else:
            yield f"{parser.name} accepted"
