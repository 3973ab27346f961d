"""The exceptions of the server package: what happened, and the next step for the operator."""

from __future__ import annotations


class ServerError(Exception):
    """Root of everything this package raises on purpose.

    Args:
        message: what happened, one sentence.
        next_step: what the operator can do about it.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(f"{message} {next_step}".strip())
        self.message = message
        self.next_step = next_step


class KernelError(ServerError):
    """The kernel cannot run here, or was handed something of the wrong shape."""


class ArtefactError(ServerError):
    """A model folder is missing or damaged."""


class CheckpointError(ServerError):
    """A checkpoint cannot be found, read, or trusted."""


class UnsupportedModelError(ServerError):
    """The model can be read, but not served well or without leaking: the message says why."""


class QuantisationError(ServerError):
    """A weight matrix cannot be turned into int8."""


class PullError(ServerError):
    """A model of the catalogue could not be fetched, or is not the pinned one."""


class DiskSpaceError(ServerError):
    """The disk has no room for what is to be written."""
