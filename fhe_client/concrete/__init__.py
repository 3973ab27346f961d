"""What stands behind `fhe_client.concrete_api`: a model's linear layers, quantised here, computed somewhere."""

from __future__ import annotations
