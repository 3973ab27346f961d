"""The server's log: one line an event, as text or as JSON. Never a byte of a query, an address, or a token.

A disk that is full, or a log that cannot be written, costs the line and nothing else.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from fhe_server.errors import ServerError

LOGGER = logging.getLogger("tacita")
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")


def event(name: str, level: int = logging.INFO, /, **fields: object) -> None:
    """Write one event. `fields` are numbers, names of models, reasons: nothing that came in a query."""
    LOGGER.log(level, name, extra={"fields": fields})


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One object a line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {"time": f"{moment}.{record.msecs:03.0f}Z"}
        line |= {"level": record.levelname.lower(), "event": record.getMessage()}
        line |= {"pid": record.process, **getattr(record, "fields", {})}
        if record.exc_info is not None and record.exc_info[0] is not None:
            line["exception"] = _where(record)
        return json.dumps(line)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The same for people."""
        fields = getattr(record, "fields", {})
        pairs = "".join(f" {key}={value}" for key, value in fields.items())
        failed = record.exc_info is not None and record.exc_info[0] is not None
        where = f" exception={_where(record)}" if failed else ""
        return f"{record.levelname.lower()}: {record.getMessage()}{pairs}{where}"


def _where(record: logging.LogRecord) -> str:
    """Kind and place of an exception. Its text may quote what a client sent, so it is left out."""
    assert record.exc_info is not None
    kind, _, trace = record.exc_info
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
    return f"{'' if kind is None else kind.__name__}{place}"


class _Quiet:
    """Mixed into a handler: a line that cannot be written is dropped."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        """Nothing: logging would print a traceback with the arguments."""


class _Stderr(_Quiet, logging.StreamHandler[Any]):
    pass


class _File(_Quiet, WatchedFileHandler):
    pass


def set_up(form: str = "text", level: str = "info", path: Path | None = None) -> None:
    """Send events, and errors of uvicorn, to standard error or to a file. (Its warnings any stranger can provoke.)

    Raises:
        ServerError: the file cannot be opened.
    """
    try:
        handler: logging.Handler = _Stderr(sys.stderr) if path is None else _File(path, delay=False)
    except OSError as error:
        raise ServerError(
            f"Cannot write the log {path}: {error.strerror}.", "Choose another --log-file."
        ) from error
    handler.setFormatter(_Json() if form == "json" else _Text())
    for name, least in (("tacita", level), ("uvicorn", "error")):
        logger = logging.getLogger(name)
        for old in logger.handlers[:]:
            logger.removeHandler(old)
            old.close()
        logger.addHandler(handler)
        logger.setLevel(least.upper())
        logger.propagate = False
