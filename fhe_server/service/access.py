"""Who may come in, and how much they may use.

A `Holder` is what the server remembers of one token while it runs: rounds under way, open connections, quotas. On a
server without tokens everyone is the same holder, without limits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from fhe_server.service.refusals import ServiceError
from fhe_server.service.tokens import (
    AccessToken,
    Quotas,
    Stamp,
    TokenFile,
    hash_token,
    unnamed,
    utc,
)
from fhe_server.service.usage import UsageLedger

_SOON_S = 1
_NO_FILE: Stamp = (0, 0, 0, 0)
_ANYONE = AccessToken(name="", sha256="")

OnEnd = Callable[[ServiceError], None]
"""Called with the reason when a connection must end."""


class Holder:
    """One token at work. Lives on one event loop.

    Attributes:
        ended: why it may do nothing any more; None while it may.
        connections: what to call when that changes, one entry for each open connection.
    """

    def __init__(self, token: AccessToken, ledger: UsageLedger) -> None:
        self.ended: ServiceError | None = None
        self.connections: set[OnEnd] = set()
        self.rounds = 0
        self._ledger = ledger
        self.renew(token)

    def renew(self, token: AccessToken) -> None:
        """Take the token's present limits and expiry, which hold for open connections too."""
        self.token = token
        self.ended = None
        self._limited = token.quotas != Quotas()

    @property
    def name(self) -> str:
        """What the operator called it."""
        return self.token.name

    def begin_round(self) -> None:
        """Ask whether one more round may start; `end_round` must follow.

        Raises:
            ServiceError: 401 it may not come any more; 429 a quota is used up, or too much at once.
        """
        if self.ended is not None:
            raise self.ended
        if self._limited:
            self.check_quotas()
            most = self.token.quotas.rounds_at_once
            if most is not None and self.rounds >= most:
                raise ServiceError(
                    429,
                    "too_many_requests",
                    f"this token may have {most} rounds at a time",
                    _SOON_S,
                )
        self.rounds += 1

    def end_round(self) -> None:
        """The round is over, answered or not."""
        self.rounds -= 1

    def check_quotas(self) -> None:
        """Ask whether anything is left of today's quotas.

        Raises:
            ServiceError: 429, and when they begin anew.
        """
        quotas, used = self.token.quotas, self._ledger.used(self.name)
        if quotas.tokens_per_day is not None and used.tokens >= quotas.tokens_per_day:
            self._refuse(f"{quotas.tokens_per_day:,} tokens")
        if quotas.bytes_per_day is not None and used.bytes >= quotas.bytes_per_day:
            self._refuse(f"{quotas.bytes_per_day / 1e6:,.0f} MB")

    def spend(self, tokens: float, size: int) -> None:
        """Count tokens of the model and bytes."""
        if self._limited:
            self._ledger.add(self.name, tokens, size)

    def end(self, reason: ServiceError) -> None:
        """Let it do nothing any more, and end its connections."""
        self.ended = reason
        for on_end in list(self.connections):
            on_end(reason)

    def _refuse(self, limit: str) -> None:
        resets = self._ledger.resets_at
        wait = max(1, round(resets - self._ledger.clock()))
        message = (
            f"today's quota of this token, {limit}, is used up; it begins anew at {utc(resets)}"
        )
        raise ServiceError(429, "quota_exceeded", message, wait)


class Access:
    """All tokens of this process.

    Args:
        hashes: digests of tokens without name and limits.
        file: tokens with both; read again by `reload`.
        ledger: what was used today.
        clock: seconds since 1970, for expiry.
    """

    def __init__(
        self,
        hashes: Iterable[str] = (),
        file: TokenFile | None = None,
        ledger: UsageLedger | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ledger = ledger or UsageLedger()
        self._fixed = unnamed(hashes)
        self._file = file
        self._clock = clock
        self._stamp = _NO_FILE
        self._holders: dict[str, Holder] = {}
        self._anyone = Holder(_ANYONE, self.ledger)
        self.required = bool(self._fixed) or file is not None
        self.reload()

    @property
    def hashes(self) -> frozenset[str]:
        """Digests of all tokens that are known; empty on a server without tokens."""
        return frozenset(self._holders)

    def admit(self, authorization: str) -> Holder:
        """The holder of the token in an Authorization header.

        Raises:
            ServiceError: 401.
        """
        if not self.required:
            return self._anyone
        scheme, _, token = authorization.partition(" ")
        holder = (
            self._holders.get(hash_token(token.strip())) if scheme.lower() == "bearer" else None
        )
        if holder is None:
            raise ServiceError(401, "unauthorised", "this server needs a valid access token")
        if holder.ended is None and holder.token.expired(self._clock()):
            holder.end(_expired(holder.token))
        if holder.ended is not None:
            raise holder.ended
        return holder

    @property
    def stamp(self) -> Stamp:
        """The file as it is now: another one whenever it is replaced, or someone else may read it."""
        return _NO_FILE if self._file is None else self._file.stamp()

    def changed(self) -> bool:
        """Whether the file is another one than was last read with success."""
        return self.stamp != self._stamp

    def reload(self) -> list[str]:
        """Read the file again; holders whose token is gone are ended. Returns their names.

        Raises:
            TokenError: the file is not usable; everything stays as it was.
        """
        entries = list(self._fixed)
        if self._file is not None:
            stamp = self._file.stamp()  # before it is read: what changes meanwhile is read again
            entries += self._file.read()
            self._stamp = stamp
        before, self._holders = self._holders, {}
        for entry in entries:
            # One token may be in two places: what its connections hang on must stay the one that is ended later.
            holder = self._holders.get(entry.sha256) or before.pop(entry.sha256, None)
            holder = holder or Holder(entry, self.ledger)
            if holder.token != entry:
                holder.renew(entry)
            self._holders[entry.sha256] = holder
        for holder in before.values():
            holder.end(ServiceError(401, "unauthorised", "this access token was revoked"))
        return [h.name for h in before.values()]

    def end_expired(self) -> list[str]:
        """End the holders whose time is over; their names."""
        now = self._clock()
        over = [h for h in self._holders.values() if h.ended is None and h.token.expired(now)]
        for holder in over:
            holder.end(_expired(holder.token))
        return [h.name for h in over]


def _expired(token: AccessToken) -> ServiceError:
    assert token.expires is not None
    return ServiceError(401, "unauthorised", f"this access token expired at {utc(token.expires)}")
