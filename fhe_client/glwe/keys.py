"""A session's keys: the private one never leaves this object, the compression key is what the server computes with."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fhe_client.crypto.errors import SecretWipedError
from fhe_client.glwe.errors import GlweLibraryError, GlweUnavailableError
from fhe_protocol.errors import FrameError
from fhe_protocol.glwe import check_key, check_matrix
from fhe_protocol.glwe_library import unavailable_reason


def load_library() -> Any:
    """The module `concrete_ml_extensions`; native code, so it is imported only where the scheme is used.

    Raises:
        GlweUnavailableError: it is not there, with the reason.
    """
    reason = unavailable_reason()
    if reason is not None:
        raise GlweUnavailableError(reason)
    try:
        import concrete_ml_extensions
    except ImportError as error:  # another libc than its wheel was built for
        raise GlweUnavailableError(
            "concrete-ml-extensions is installed but cannot be loaded on this system."
        ) from error
    return concrete_ml_extensions


class GlweKeys:
    """The key pair of one session, made by the library from the system's randomness; takes seconds.

    It lives in memory only. Closing drops it; the library frees its memory without overwriting it, which is one of the
    things that `hint` does better (docs/decisions/0010-glwe-over-the-network.md).

    Attributes:
        compression_key: 134 MB, public: what the server needs to compress its results.

    Raises:
        GlweUnavailableError: the library is missing.
        GlweLibraryError: it is of another version than the protocol's.
    """

    def __init__(self) -> None:
        self._library = load_library()
        library = self._library
        self._parameters = library.MatmulCryptoParameters.deserialize(library.default_params())
        self._private, compression = library.cpu_create_private_key(self._parameters)
        self.compression_key: bytes = bytes(compression.serialize())
        self._owner = os.getpid()
        try:
            check_key(self.compression_key)
        except FrameError as error:
            raise GlweLibraryError(
                "concrete-ml-extensions makes keys of another format."
            ) from error

    def encrypt(self, x: NDArray[np.int64]) -> bytes:
        """A serialised EncryptedMatrix, fresh randomness in every call.

        Args:
            x: int64 (rows, n), each in [-2^26, 2^26).
        """
        self._check_open()
        values = np.ascontiguousarray(x).view(np.uint64)
        matrix = self._library.encrypt_matrix(self._private, self._parameters, values)
        data = bytes(matrix.serialize())
        try:
            check_matrix(data, *x.shape)
        except FrameError as error:
            raise GlweLibraryError("concrete-ml-extensions encrypts in another format.") from error
        return data

    def decrypt(self, result: bytes | memoryview, rows: int, outputs: int) -> NDArray[np.float64]:
        """The products in a serialised CompressedResult of one block.

        Args:
            result: untrusted, but checked by `fhe_protocol.glwe.parse_answer`.

        Returns:
            float64 (rows, outputs), integers in [-2^26, 2^26); NaN where the library refuses the bytes.
        """
        self._check_open()
        library = self._library
        try:
            opened = library.CompressedResultEncryptedMatrix.deserialize(bytes(result))
            found = library.decrypt_matrix(opened, self._private, self._parameters, outputs)
            values = np.array(found, dtype=np.uint64).view(np.int64)
        except BaseException as error:  # a Rust panic is a BaseException
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            values = np.empty(0, dtype=np.int64)
        if values.shape != (rows, outputs):
            return np.full((rows, outputs), np.nan)
        return values.astype(np.float64)

    def close(self) -> None:
        """Drop the keys. Safe to call twice."""
        self._private = None
        self.compression_key = b""

    def _check_open(self) -> None:
        if self._private is None or os.getpid() != self._owner:
            raise SecretWipedError("The keys of this session are gone.", "Start a new one.")
