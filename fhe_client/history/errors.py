"""What can go wrong with the history, each with a next step for the reader."""

from __future__ import annotations

from fhe_client.errors import TacitaError


class HistoryError(TacitaError):
    """The history could not be read or written."""

    code = "history"


class HistoryNewerError(HistoryError):
    """The file was written by a newer Tacita: left as it is."""

    code = "history_newer"


class HistoryLockedError(HistoryError):
    """The file exists but this key does not open it: never replaced, never overwritten."""

    code = "history_locked"


class HistoryTransferError(HistoryError):
    """A file that was to be imported is not a Tacita export."""

    code = "history_import"
