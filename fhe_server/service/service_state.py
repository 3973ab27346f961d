"""What the routes share: the state of the service, and the checks that come before anything else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute

from fhe_server.service.access import Access, Holder
from fhe_server.service.batching import Batcher
from fhe_server.service.connections import Connections
from fhe_server.service.limits import Limits
from fhe_server.service.metrics import Metrics
from fhe_server.service.refusals import ServiceError
from fhe_server.service.served_model import ServedModel
from fhe_server.service.shelf import Shelf


@dataclass
class ServerCounters:
    """Payload bytes since start, for tests and metrics. No content, no addresses."""

    rounds: int = 0
    query_bytes: int = 0
    answer_bytes: int = 0


class SchemeService(Protocol):
    """Another scheme that is served beside `hint` (`glwe.routes.GlweService`)."""

    @property
    def scheme(self) -> str:
        """Its name in /v1/info."""
        ...

    def routes(self) -> list[BaseRoute]:
        """What to mount."""
        ...

    def lifespan(self, app: Starlette) -> AbstractAsyncContextManager[None]:
        """Entered when the app starts, left when it ends."""
        ...


@dataclass
class ServiceState:
    """What the routes need.

    Attributes:
        ready: whether /v1/ready says so: models are loaded, and the server is not about to end.
    """

    shelf: Shelf
    access: Access
    limits: Limits = field(default_factory=Limits)
    batcher: Batcher = field(default_factory=Batcher)
    schemes: tuple[str, ...] = ("hint",)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    counters: ServerCounters = field(default_factory=ServerCounters)
    metrics: Metrics = field(default_factory=Metrics)
    connections: Connections = field(default_factory=Connections)
    ready: bool = True

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """Served models by name."""
        return self.shelf

    @property
    def token_hashes(self) -> frozenset[str]:
        """Digests of the accepted tokens; empty on a server without tokens."""
        return self.access.hashes


def state_of(connection: HTTPConnection) -> ServiceState:
    """What the app was created with."""
    state: ServiceState = connection.app.state.service
    return state


def admit(connection: HTTPConnection) -> Holder:
    """The holder of the caller's token.

    Raises:
        ServiceError: 401.
    """
    return state_of(connection).access.admit(connection.headers.get("authorization", ""))


def owner_of(connection: HTTPConnection, holder: Holder) -> str:
    """Whom something counts against: the token if there are any, else the address."""
    if holder.token.sha256:
        return holder.token.sha256  # not the header, which can be spelled in many ways
    return _network(connection.client.host) if connection.client is not None else ""


def _network(host: str) -> str:
    """The address, or of IPv6 the half that one subscriber is given: it has 2^64 addresses to choose from."""
    try:
        address = ip_address(host)
    except ValueError:  # a Unix socket's, or a test's
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address.packed, 64), strict=False))
    return host


def authorise(connection: HTTPConnection) -> ServiceState:
    """The state, for a caller with a valid token.

    Raises:
        ServiceError: 401.
    """
    admit(connection)
    return state_of(connection)


def find_model(connection: HTTPConnection) -> ServedModel:
    """The model that the path names, for a caller with a valid token.

    Raises:
        ServiceError: 401, 404.
    """
    state = authorise(connection)
    name = connection.path_params["name"]
    model = state.models.get(name)
    if model is None:
        served = ", ".join(sorted(state.models)) or "none"
        raise ServiceError(404, "no_such_model", f"no such model here; served: {served}")
    return model


def check_digest(model: ServedModel, digest: str | None) -> None:
    """Refuse a caller who means another model.

    Raises:
        ServiceError: 409.
    """
    if digest != model.manifest.digest:
        raise ServiceError(409, "other_model", "the model changed on the server; connect again")


async def read_body(request: Request, limit: int) -> bytes:
    """The body, refused as soon as it is known to be too large."""
    try:
        announced = int(request.headers.get("content-length", "0"))
    except ValueError:
        raise ServiceError(400, "bad_request", "content-length is not a number") from None
    chunks: list[bytes] = []
    total = announced
    if announced <= limit:
        total = 0
        async for chunk in request.stream():
            total += len(chunk)
            if total > limit:
                break
            chunks.append(chunk)
    if total > limit:
        raise ServiceError(413, "too_large", f"a query has at most {limit} bytes here")
    return b"".join(chunks)
