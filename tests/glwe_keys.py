"""One real key pair of `concrete_ml_extensions` for all tests of a process: making one takes seconds."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fhe_client.glwe.keys import GlweKeys


class RealKeys:
    """The library with a private key and its serialised compression key."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.parameters = library.MatmulCryptoParameters.deserialize(library.default_params())
        self.private, compression = library.cpu_create_private_key(self.parameters)
        self.compression = compression
        self.key_bytes = bytes(compression.serialize())

    def encrypt(self, x: NDArray[np.int64]) -> bytes:
        matrix = self.library.encrypt_matrix(self.private, self.parameters, x.view(np.uint64))
        return bytes(matrix.serialize())

    def decrypt(self, result: bytes | memoryview, outputs: int) -> NDArray[np.int64]:
        opened = self.library.CompressedResultEncryptedMatrix.deserialize(bytes(result))
        values = self.library.decrypt_matrix(opened, self.private, self.parameters, outputs)
        return np.array(values).astype(np.uint64).view(np.int64)

    def multiply(self, matrix: bytes, weights: NDArray[np.int8]) -> bytes:
        """`weights` is (outputs, inputs)."""
        encrypted = self.library.EncryptedMatrix.deserialize(matrix)
        clear = np.ascontiguousarray(weights.T).astype(np.int64).view(np.uint64)
        product = self.library.cpu_matrix_multiplication(encrypted, clear, self.compression)
        return bytes(product.serialize())


@cache
def _make() -> RealKeys:
    import concrete_ml_extensions

    return RealKeys(concrete_ml_extensions)


def real_keys() -> RealKeys:
    """The keys; skips the test where the library is not installed."""
    pytest.importorskip("concrete_ml_extensions", reason="concrete-ml-extensions has no wheel here")
    return _make()


def client_keys() -> GlweKeys:
    """The client's object around the key pair that all tests share."""
    shared = real_keys()
    made = GlweKeys.__new__(GlweKeys)
    made._library, made._parameters = shared.library, shared.parameters
    made._private, made.compression_key = shared.private, shared.key_bytes
    made._owner = os.getpid()
    return made
