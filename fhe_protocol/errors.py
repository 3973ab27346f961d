"""The exceptions of the protocol. Every parser raises one of these and nothing else."""

from __future__ import annotations


class ProtocolError(Exception):
    """Bytes or values that break the protocol."""


class FrameError(ProtocolError):
    """A round frame is malformed, has the wrong size, or answers another question."""


class ManifestError(ProtocolError):
    """A manifest is malformed, contradicts itself, or asks for something this side refuses."""


class ParameterError(ProtocolError):
    """A parameter set is unknown or out of its safe range."""
