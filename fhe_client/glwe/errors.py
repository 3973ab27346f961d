"""Errors of the `glwe` scheme on the client."""

from __future__ import annotations

from typing import ClassVar

from fhe_client.crypto.errors import CryptoError


class GlweUnavailableError(CryptoError):
    """The scheme cannot be used: its library is missing here, or the server does not offer it."""

    code: ClassVar[str] = "glwe_unavailable"

    def __init__(self, message: str, next_step: str = "Use --scheme hint, the default.") -> None:
        super().__init__(message, next_step)


class GlweLibraryError(CryptoError):
    """The native library did something that this version does not know."""

    code: ClassVar[str] = "glwe_library"

    def __init__(
        self,
        message: str,
        next_step: str = "Install concrete-ml-extensions 0.2, or use --scheme hint.",
    ) -> None:
        super().__init__(message, next_step)
