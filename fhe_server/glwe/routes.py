"""The HTTP of the `glwe` scheme.

    POST /v1/glwe/keys                        {"parameters","sha256"} -> {"key","size","chunk"}
    POST /v1/glwe/keys/{key}/chunks?offset=n  bytes -> {"received","ready","expires_in"}
    GET  /v1/glwe/keys/{key}                  the same
    POST /v1/glwe/keys/{key}/end              {}
    POST /v1/models/{name}/glwe/rounds        query frame -> answer frame, streamed block by block

A key's id travels in the path or in the header X-Tacita-Glwe-Key. Errors are those of service.py, with the codes
no_such_key (410), bad_offset (409), bad_key (400), too_many_keys (429) and worker_failed (503).
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import numpy as np
from anyio import CapacityLimiter, to_thread
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from fhe_protocol.errors import FrameError, ParameterError
from fhe_protocol.glwe import (
    GLWE_2048_27,
    KEY_HEADER,
    KEY_SIZE,
    answer_size,
    glwe_parameters_by_name,
    max_query_size,
    output_blocks,
    pack_answer_header,
    parse_query,
)
from fhe_protocol.manifest import Group
from fhe_protocol.wire import FrameHeader
from fhe_server.artefact import Artefact
from fhe_server.glwe.key_store import (
    CHUNK,
    BadKeyError,
    KeyLimits,
    KeyStatus,
    KeyStore,
    KeyStoreError,
    NoSuchKeyError,
    OffsetError,
    QuotaError,
    block_shapes,
)
from fhe_server.glwe.worker_process import WorkerError, WorkerProcess, memory_limit
from fhe_server.service.access import Holder
from fhe_server.service.app import (
    ServedModel,
    ServiceError,
    admit,
    authorise,
    check_digest,
    find_model,
    read_body,
    state_of,
)
from fhe_server.service.service_state import owner_of

SCHEME = "glwe"
_SWEEP_SECONDS = 20.0
_MAX_REQUEST = 4096
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STATUS: Mapping[type[Exception], tuple[int, str]] = {
    NoSuchKeyError: (410, "no_such_key"),
    OffsetError: (409, "bad_offset"),
    BadKeyError: (400, "bad_key"),
    QuotaError: (429, "too_many_keys"),
    WorkerError: (503, "worker_failed"),
}


class GlweService:
    """The scheme as `create_app` mounts it. Close it with the app.

    Args:
        models: what is served, by name, as it is at any time; for the memory limit of the workers.
        limits: quotas and times of keys.
        simultaneous: products computed at a time; each one uses all cores.
    """

    scheme = SCHEME

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        limits: KeyLimits | None = None,
        simultaneous: int = 1,
        worker_command: list[str] | None = None,
    ) -> None:
        self._models = models
        self.store = KeyStore(
            limits or KeyLimits(), self._worker_memory(), worker_command=worker_command
        )
        self._turn = CapacityLimiter(simultaneous)

    def _worker_memory(self) -> int:
        shapes = [(g.outputs, g.inputs) for m in self._models.values() for g in m.manifest.groups]
        return memory_limit(block_shapes(shapes, GLWE_2048_27.polynomial_size))

    def routes(self) -> list[BaseRoute]:
        """The routes to mount."""
        return [
            Route("/v1/glwe/keys", self._create, methods=["POST"]),
            Route("/v1/glwe/keys/{key}", self._status),
            Route("/v1/glwe/keys/{key}/chunks", self._chunk, methods=["POST"]),
            Route("/v1/glwe/keys/{key}/end", self._end, methods=["POST"]),
            Route("/v1/models/{name}/glwe/rounds", self._round, methods=["POST"]),
        ]

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Removes expired keys while the app runs, and all of them when it ends."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._sweep_for_ever)
                yield
                group.cancel_scope.cancel()
        finally:
            self.store.close()

    async def _sweep_for_ever(self) -> None:
        while True:
            await anyio.sleep(_SWEEP_SECONDS)
            await to_thread.run_sync(self.store.sweep)

    async def _create(self, request: Request) -> Response:
        holder = admit(request)
        holder.check_quotas()
        wanted = _json(await read_body(request, _MAX_REQUEST))
        try:
            glwe_parameters_by_name(str(wanted.get("parameters")))
        except ParameterError as error:
            raise ServiceError(400, "bad_request", str(error)) from error
        digest = wanted.get("sha256")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ServiceError(400, "bad_request", "sha256 must be 64 hexadecimal digits")
        self.store.worker_memory = self._worker_memory()  # a model may have come since
        with _mapped():
            key = self.store.create(owner_of(request, holder), digest)
        return JSONResponse({"key": key, "size": KEY_SIZE, "chunk": CHUNK})

    async def _status(self, request: Request) -> Response:
        authorise(request)
        with _mapped():
            return _describe(self.store.status(request.path_params["key"]))

    async def _chunk(self, request: Request) -> Response:
        holder = admit(request)
        holder.check_quotas()
        offset = _number(request.query_params.get("offset"))
        key = request.path_params["key"]
        with _mapped():
            self.store.status(key)  # before a stranger's bytes are read
            chunk = await read_body(request, CHUNK)
            holder.spend(0.0, len(chunk))  # whether they are of use or not
            return _describe(await to_thread.run_sync(self.store.append, key, offset, chunk))

    async def _end(self, request: Request) -> Response:
        authorise(request)
        await to_thread.run_sync(self.store.remove, request.path_params["key"])
        return JSONResponse({})

    async def _round(self, request: Request) -> Response:
        holder = admit(request)
        model = find_model(request)
        check_digest(model, request.headers.get("x-tacita-model"))
        holder.begin_round()
        try:
            return await self._answer(request, holder, model)
        except BaseException:
            holder.end_round()
            raise

    async def _answer(self, request: Request, holder: Holder, model: ServedModel) -> Response:
        """The answer of a round that has begun; it ends the round when it has been sent."""
        key = request.headers.get(KEY_HEADER, "")
        with _mapped():
            worker = self.store.worker(key)
            frame = await read_body(request, max_query_size(model.manifest))
            header, matrix = _parse(frame, model)
            group = model.manifest.groups[header.group]
            blocks = self._blocks(worker, model.artefact, group, header, matrix)
            first = await anext(blocks)  # a failure here still has a status
        size = answer_size(group, header.rows)
        tokens = header.rows / len(model.manifest.groups)
        holder.spend(tokens, len(frame) + size)
        counters = state_of(request).counters
        counters.rounds += 1
        counters.query_bytes += len(frame)
        counters.answer_bytes += size
        state_of(request).metrics.tokens[model.manifest.name] += tokens
        body = _frame(header, first, blocks)
        headers = {"content-length": str(size)}
        return _LastOfRound(holder, body, headers)

    async def _blocks(
        self,
        worker: WorkerProcess,
        artefact: Artefact,
        group: Group,
        header: FrameHeader,
        matrix: memoryview,
    ) -> AsyncIterator[bytes]:
        for number, (start, stop) in enumerate(output_blocks(group.outputs)):
            weights = partial(block_weights, artefact, group, start, stop)
            name = hash((artefact.manifest.digest, group.index, number))
            job = partial(_multiply, worker, matrix, header.rows, weights, name)
            yield await to_thread.run_sync(job, limiter=self._turn)


class _LastOfRound(StreamingResponse):
    """An answer behind which its round is over, whether all of it could be sent or not."""

    def __init__(
        self, holder: Holder, body: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> None:
        super().__init__(body, media_type="application/octet-stream", headers=headers)
        self._holder = holder

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See Starlette."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._holder.end_round()


def block_weights(artefact: Artefact, group: Group, start: int, stop: int) -> NDArray[np.int8]:
    """int8 (stop - start, n) of a group, its parts side by side."""
    parts = range(group.first_part, group.first_part + len(group.parts))
    return np.concatenate([artefact.weights(k)[start:stop] for k in parts], axis=1)


def _multiply(
    worker: WorkerProcess, matrix: memoryview, rows: int, weights: Any, name: int
) -> bytes:
    return worker.multiply(matrix, rows, weights(), name)


async def _frame(
    header: FrameHeader, first: bytes, rest: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    yield pack_answer_header(header) + first
    # A failure from here on cuts the reply short, which its announced length shows. It is no fault of this program.
    with suppress(WorkerError):
        async for block in rest:
            yield block


def _parse(frame: bytes, model: ServedModel) -> tuple[FrameHeader, memoryview]:
    try:
        return parse_query(frame, model.manifest)
    except FrameError as error:
        raise ServiceError(400, "bad_frame", str(error)) from error


class _mapped:  # noqa: N801  # reads as a statement
    """Turns this package's errors into HTTP ones."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KeyStoreError | WorkerError):
            status, code = _STATUS[type(error)]
            raise ServiceError(status, code, error.message) from error


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ServiceError(400, "bad_request", "the body must be a JSON object")
    return value


def _number(text: str | None) -> int:
    if text is None or not re.fullmatch(r"[0-9]{1,12}", text):
        raise ServiceError(400, "bad_request", "offset must be a number")
    return int(text)


def _describe(status: KeyStatus) -> Response:
    return JSONResponse(
        {
            "received": status.received,
            "ready": status.ready,
            "expires_in": max(0, round(status.expires_in)),
        }
    )
