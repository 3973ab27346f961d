"""From messages to tokens and from logits to text: templates, transcript, sampling, drafting, generation, the chat."""

from __future__ import annotations
