"""The client's half of a model: a Hugging Face causal LM whose linear layers ask a `LinearRunner`.

Knows neither the network nor any secret: who multiplies, and under what encryption, is the runner's matter.
"""

from __future__ import annotations
