"""HTTP connections of the local endpoint: whoever asks nothing makes room for those who do."""

from __future__ import annotations

import asyncio
import itertools

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 64
_numbers = itertools.count()


class LocalHttp(H11Protocol):
    """HTTP/1.1 with a bounded number of connections.

    Programs of other users, and pages in a browser, know no key, but can open connections and leave them silent. With
    more than MOST_CONNECTIONS, the one that has been open longest without a request under way is closed. Heads are
    bounded by h11 (httptools, the faster parser, would take one of any size).
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._number = next(_numbers)
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def _make_room(self) -> None:
        others = (one for one in self.connections if isinstance(one, LocalHttp))
        quiet = [one for one in others if one._is_quiet()]
        if quiet:
            min(quiet, key=lambda one: one._number).transport.abort()

    def _is_quiet(self) -> bool:
        asks = self.cycle is not None and not self.cycle.response_complete
        return not asks and not self.transport.is_closing()
