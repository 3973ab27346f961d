"""Where secrets are born and die: one key an epoch, one ternary secret for every part of every group in it.

An epoch key is HKDF(master key, 32 fresh bytes of the operating system). The fresh bytes never leave memory, so
a restored backup of the whole disk cannot repeat a secret. A wiped key refuses to derive anything: zeros would
be a public key. A process that forks loses its epochs in the child.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from fhe_client.crypto.errors import SecretWipedError
from fhe_client.crypto.randomness import SecretStream, centred_binomial_of, sample_ternary
from fhe_client.keys import MasterKey
from fhe_protocol.parameters import HintParameters


class Wipeable(Protocol):
    """Something that holds key material and can forget it."""

    def wipe_after_fork(self) -> None:
        """Overwrite; every later use raises. Called in a forked child, where locks may be held by nobody."""


_alive: weakref.WeakSet[Wipeable] = weakref.WeakSet()


def die_on_fork(holder: Wipeable) -> None:
    """Register `holder` so that a forked child wipes its copy before any code of its own runs."""
    _alive.add(holder)


def _wipe_in_child() -> None:
    for holder in list(_alive):
        holder.wipe_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_wipe_in_child)


class EpochSecrets:
    """The secrets of one epoch: N slots of every part.

    Args:
        master_key: the profile's key; only used here, not kept.
        parameters: N and eta.
    """

    def __init__(self, master_key: MasterKey, parameters: HintParameters) -> None:
        nonce = os.urandom(32)
        self._key = bytearray(master_key.derive(b"epoch" + nonce))
        self._parameters = parameters
        self._wiped = False
        self._lock = threading.Lock()
        die_on_fork(self)

    def secret(self, part_index: int) -> NDArray[np.int8]:
        """s of one part: int8 (N,), uniform in {-1, 0, 1}. The caller wipes it."""
        return sample_ternary(self._stream(b"secret", part_index), self._parameters.ring_degree)

    def errors(self, part_index: int, slots: NDArray[np.int64], count: int) -> NDArray[np.int8]:
        """e of one part at some slots: int8 (k, n), for every slot always the same.

        Args:
            count: n of the part; the same at every call, for it places the slots in the stream.
        """
        stream = self._stream(b"error", part_index)
        blocks = -(-2 * count // 16)  # of 16 bytes, for one slot: two bytes a value
        words = np.empty((slots.size, count), dtype="<u2")
        row = 0
        for run in np.split(slots, np.flatnonzero(np.diff(slots) != 1) + 1):
            stream.seek(int(run[0]) * blocks)
            raw = stream.read(run.size * blocks * 16).view("<u2").reshape(run.size, -1)
            words[row : row + run.size] = raw[:, :count]
            row += run.size
        return centred_binomial_of(words, self._parameters.error_eta)

    def wipe(self) -> None:
        """Forget the key. Pads that were prepared from it stay valid until they are spent."""
        with self._lock:  # or a thread inside `_stream` could derive from a half-erased key
            self._wiped = True
            self._key[:] = bytes(len(self._key))

    def wipe_after_fork(self) -> None:
        """As `wipe`, in a child where the lock may have been inherited locked."""
        self._lock = threading.Lock()
        self.wipe()

    def _stream(self, kind: bytes, *numbers: int) -> SecretStream:
        with self._lock:
            if self._wiped:
                raise SecretWipedError("This epoch's secrets were erased.", "Start a new session.")
            fields = (number.to_bytes(8, "big") for number in numbers)
            return SecretStream(self._key, kind, *fields)

    def __repr__(self) -> str:
        return f"EpochSecrets({'wiped' if self._wiped else 'alive'})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("epoch secrets cannot be copied or stored")
