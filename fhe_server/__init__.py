"""Import of models, quantisation, hints, the kernel and the HTTP service. No secret can live here."""

from __future__ import annotations
