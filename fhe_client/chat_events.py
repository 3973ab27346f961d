"""What opening a chat and asking in it tell whoever shows it. Plain values: nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from fhe_client.errors import TacitaError
from fhe_protocol.glwe_library import unavailable_reason

if TYPE_CHECKING:
    from fhe_client.crypto.session import RoundReport


SCHEMES = ("hint", "glwe")
"""The first one is the default."""


def schemes(
    offered: Collection[str] = SCHEMES, told: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str | None]:
    """Each scheme with the reason why it cannot be used, in a sentence, or None where it can.

    Args:
        offered: the schemes that the server names.
        told: its own reasons for others.
    """
    found: dict[str, str | None] = {}
    for scheme in SCHEMES:
        reason = unavailable_reason() if scheme == "glwe" else None
        if reason is None and scheme not in offered:
            reason = f"The server does not offer this scheme. {told.get(scheme, '')}".strip()
        found[scheme] = reason
    return found


@dataclass(frozen=True, slots=True)
class Status:
    """The `status` event of the engine protocol: `done` of `total` (0: not known) of `unit`."""

    state: str
    done: int = 0
    total: int = 0
    unit: str = "items"


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """Which server and which model.

    Attributes:
        url: the server's address; None starts the embedded server.
        token: the access token that the server asks for.
        pinned_certificate: SHA-256 fingerprint of the only certificate that is accepted, in place of those that the
            system trusts.
        model: a model's name; None takes the server's only or first one.
        accept_model_change: go on, and pin anew, where the model is not the one that was pinned.
        window_slots: slots prepared at a time.
        scheme: "hint", or "glwe" for Concrete ML's own.
    """

    url: str | None = None
    token: str | None = field(default=None, repr=False)
    pinned_certificate: str | None = None
    model: str | None = None
    accept_model_change: bool = False
    window_slots: int = 256
    scheme: str = "hint"
    models: Path | None = None
    """Folder of the embedded server's imported models; None means the profile's own."""


@dataclass(frozen=True)
class Callbacks:
    """Who is told, and who may stop it. All are called from the thread that opens or asks, unless said otherwise.

    Attributes:
        on_status: also called by background threads.
        on_round: after each round of the conversation.
        should_stop: asked often; True ends opening with `CancelledError`.
    """

    on_status: Callable[[Status], None] = lambda status: None
    on_round: Callable[[RoundReport], None] = lambda report: None
    should_stop: Callable[[], bool] = lambda: False


class CancelledError(TacitaError):
    """The user stopped it."""

    code: ClassVar[str] = "cancelled"
