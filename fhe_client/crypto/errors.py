"""Errors of the cryptographic core. Most of them mean that a bug was stopped before it cost secrecy."""

from __future__ import annotations

from fhe_client.errors import TacitaError


class CryptoError(TacitaError):
    """Root of this module."""

    code = "crypto"


class SlotError(CryptoError):
    """A slot would have been used twice, out of order, or outside its window."""

    code = "slot_reuse"


class SecretWipedError(CryptoError):
    """Key material was asked for after it had been erased."""

    code = "secret_wiped"


class HintAuditError(CryptoError):
    """The server's hints do not match its answers: it is broken, or it lies."""

    code = "hint_audit"


class ModelTooLargeError(CryptoError):
    """The model's pads do not fit into the memory that one session may take."""

    code = "model_too_large"


class SessionClosedError(CryptoError):
    """The session has ended."""

    code = "session_closed"
