"""Ways to carry a round over loopback, side by side: seconds per token for the shapes of SmolLM2-135M.

    python benchmarks/transport.py [--tokens 5] [--json FILE]

The server answers at once with bytes of the right size, so what is left is transport. Each way runs in turn, several
times; the best of the medians is shown. 9 MB stand for the largest frames of a long prefill.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import statistics
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from urllib.parse import urlsplit

HIDDEN, INNER, KV, VOCABULARY, BLOCKS = 576, 1536, 192, 49152, 30
HEADER = 12


def shapes(rows: int = 1) -> list[tuple[int, int]]:
    """(query bytes, answer bytes) of every round of a pass: 4 a block, and the two tables."""
    block = [
        (HIDDEN, HIDDEN + 2 * KV),
        (HIDDEN, HIDDEN),
        (HIDDEN, 2 * INNER),
        (INNER, HIDDEN),
    ]
    rounds = block * BLOCKS + [(HIDDEN, VOCABULARY)]
    return [(HEADER + 3 * rows * n, HEADER + 2 * rows * m) for n, m in rounds]


def serve() -> None:
    """Child process: an ASGI app that answers a frame with as many bytes as its first four say."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    from fhe_server.service.serving import uvicorn_config

    answers: dict[int, bytes] = {}

    def answer(frame: bytes) -> bytes:
        (size,) = struct.unpack_from("<I", frame)
        if size not in answers:
            answers[size] = bytes(size)
        return answers[size]

    async def post(request: Request) -> Response:
        return Response(answer(await request.body()), media_type="application/octet-stream")

    async def ws(sock: WebSocket) -> None:
        await sock.accept()
        try:
            while True:
                await sock.send_bytes(answer(await sock.receive_bytes()))
        except WebSocketDisconnect:
            return

    app = Starlette(
        routes=[
            Route("/v1/models/{name}/rounds", post, methods=["POST"]),
            WebSocketRoute("/v1/models/{name}/rounds", ws),
        ]
    )
    bound = socket.create_server(("127.0.0.1", 0))
    print(bound.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn_config(app, 64 << 20)).run(sockets=[bound])


Exchange = Callable[[bytes, int], object]


def ours(url: str) -> Exchange:
    """What Tacita uses."""
    from fhe_client.network.http_lane import Access, Lane
    from fhe_client.network.meter import TrafficMeter
    from fhe_client.network.origin import parse_origin
    from fhe_client.network.websocket_frames import WebSocketConnection, handshake

    lane = Lane(Access(parse_origin(url), TrafficMeter()), "rounds")
    lane.watch.start(3600)
    sock = lane.connect(PATH)
    handshake(sock, urlsplit(url).netloc, PATH, None)
    connection = WebSocketConnection(sock)

    def exchange(frame: bytes, size: int) -> object:
        lane.watch.start(60, 16384)
        connection.send(frame)
        return connection.receive(size)

    return exchange


def websocket_client(url: str) -> Exchange:
    """The package websocket-client."""
    import websocket

    connection = websocket.create_connection(
        url.replace("http", "ws") + PATH, skip_utf8_validation=True, timeout=60
    )

    def exchange(frame: bytes, size: int) -> object:
        connection.send_binary(frame)
        return connection.recv()

    return exchange


def websockets_sync(url: str) -> Exchange:
    """The synchronous client of the package websockets."""
    from websockets.sync.client import connect

    # It wants to be a context manager, and says so at its first use.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    connection = connect(url.replace("http", "ws") + PATH, compression=None, max_size=None)

    def exchange(frame: bytes, size: int) -> object:
        connection.send(frame)
        return connection.recv()

    return exchange


def http_client(url: str) -> Exchange:
    """Keep-alive POST with http.client."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(frame: bytes, size: int) -> object:
        connection.request("POST", PATH, frame)
        return connection.getresponse().read()

    return exchange


def requests_post(url: str) -> Exchange:
    """Keep-alive POST with requests."""
    import requests

    session = requests.Session()
    session.trust_env = False

    def exchange(frame: bytes, size: int) -> object:
        return session.post(url + PATH, data=frame, timeout=60).content

    return exchange


PATH = "/v1/models/bench/rounds"
WAYS: dict[str, Callable[[str], Exchange]] = {
    "tacita (WebSocket)": ours,
    "websocket-client": websocket_client,
    "websockets.sync": websockets_sync,
    "http.client POST": http_client,
    "requests POST": requests_post,
}


def frame_of(query: int, answer: int) -> bytes:
    """A query frame of a size that asks for an answer of a size."""
    return struct.pack("<I", answer) + bytes(query - 4)


def measure(exchange: Exchange, rounds: list[tuple[int, int]], repeats: int) -> float:
    """Median seconds for all rounds once."""
    frames = [(frame_of(q, a), a) for q, a in rounds]
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        for frame, answer in frames:
            exchange(frame, answer)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            result = run(url, options.tokens, options.turns)
        finally:
            server.terminate()
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)
    return 0


def run(url: str, tokens: int, turns: int) -> dict[str, dict[str, float]]:
    """Every way, in turns, so that a busy moment of the machine hits all alike."""
    work = {
        "token": (shapes(), tokens),
        "150 KB up": ([(150_000, 5_000)], 20),
        "9 MB down": ([(440_000, 9_000_000)], 3),
        "9 MB up": ([(9_000_000, 440_000)], 3),
    }
    ways = {name: make(url) for name, make in WAYS.items()}
    best: dict[str, dict[str, float]] = {name: {} for name in ways}
    for _ in range(turns):
        for name, exchange in ways.items():
            for what, (rounds, repeats) in work.items():
                seconds = measure(exchange, rounds, repeats)
                best[name][what] = min(seconds, best[name].get(what, seconds))
    print(f"{'milliseconds':22}" + "".join(f"{what:>12}" for what in work))
    for name, row in best.items():
        print(f"{name:22}" + "".join(f"{row[what] * 1000:12.2f}" for what in work))
    return best


if __name__ == "__main__":
    sys.exit(main())
