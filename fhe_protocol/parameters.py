"""The parameters of the `hint` scheme, one frozen value.

R = Z_q[X]/(X^N + 1). Secrets are uniform ternary, errors centred binomial with parameter eta (standard deviation
sqrt(eta/2)). Security: lattice-estimator, June 2026 snapshot, m = 2^27 samples: cheapest attack 2^136.8 (dual
hybrid, MATZOV cost model); docs/security/parameters.md quotes the run. A change of N, q, secret or error needs
a new run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fhe_protocol.errors import ParameterError

SECURE_BITS = 128
MAX_SAMPLES = 1 << 27
"""Ring-LWE samples times N under one secret that the security figure covers (n * N)."""


@dataclass(frozen=True, slots=True)
class HintParameters:
    """One parameter set. Bounds are checked at construction: an unsafe one cannot exist.

    Attributes:
        name: stable identifier, part of every mask seed.
        ring_degree: N, also the token slots of one secret.
        modulus_bits: log2 q; three bytes on the wire.
        error_eta: centred-binomial parameter of e.
        answer_bits: leading bits of q that hints and answers keep.
        security_bits: log2 of the cheapest known attack, from the estimator.
    """

    name: str
    ring_degree: int
    modulus_bits: int
    error_eta: int
    answer_bits: int
    security_bits: float

    def __post_init__(self) -> None:
        if self.ring_degree < 512 or self.ring_degree & (self.ring_degree - 1):
            raise ParameterError("ring_degree must be a power of two of at least 512")
        if self.modulus_bits != 24:
            raise ParameterError("modulus_bits must be 24: three bytes are the wire format")
        if not 1 <= self.error_eta <= 8:
            raise ParameterError("error_eta must lie in 1..8: one draw takes 2*eta of 16 bits")
        if self.answer_bits != 16:
            raise ParameterError("answer_bits must be 16: two bytes are the wire format")
        if not self.security_bits >= SECURE_BITS:  # so that NaN fails too
            raise ParameterError(f"security_bits must be at least {SECURE_BITS}")

    @property
    def modulus(self) -> int:
        """q."""
        return 1 << self.modulus_bits

    @property
    def dropped_bits(self) -> int:
        """Low bits that rounding removes from hints and answers."""
        return self.modulus_bits - self.answer_bits

    @property
    def step(self) -> int:
        """What one unit of an answer is worth in Z_q: 2^dropped_bits."""
        return 1 << self.dropped_bits

    @property
    def error_variance(self) -> float:
        """Variance of one coefficient of e."""
        return self.error_eta / 2

    @property
    def max_inputs(self) -> int:
        """Largest n of one mask: n * N samples stay inside the estimate."""
        return MAX_SAMPLES // self.ring_degree

    def noise_sigma(self, w_norm: float) -> float:
        """Standard deviation of a decrypted value around W.X, in units of Z_q.

        Three independent parts: W times the error of the query and times the rounding of gamma*x (variance 1/12);
        the rounding of the answer; the rounding of N hint coefficients times a ternary secret (variance 2/3 each).

        Args:
            w_norm: largest L2 norm of a row of the int8 weights.
        """
        rounding = self.step**2 / 12 * (1 + 2 * self.ring_degree / 3)
        return math.sqrt(w_norm**2 * (self.error_variance + 1 / 12) + rounding)

    def guard(self, w_norm: float) -> float:
        """What the signal must leave free below q/2 so that noise wraps with probability about 2^-50."""
        return 8 * self.noise_sigma(w_norm)


HINT_1024_24 = HintParameters(
    name="hint-1024-24",
    ring_degree=1024,
    modulus_bits=24,
    error_eta=5,
    answer_bits=16,
    security_bits=136.8,
)

_KNOWN = {p.name: p for p in (HINT_1024_24,)}


def parameters_by_name(name: str) -> HintParameters:
    """The known parameter set of that name.

    Raises:
        ParameterError: the name is not one this version accepts. A server cannot propose its own.
    """
    try:
        return _KNOWN[name]
    except KeyError:
        known = ", ".join(sorted(_KNOWN))
        raise ParameterError(f"unknown parameter set {name[:40]!r}; known: {known}") from None
