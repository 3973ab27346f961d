"""The keys and values of the tokens that the model has seen, kept from turn to turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

_STEP = 256
"""Tokens by which a layer's room grows: so often all its keys and values are copied."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc, unused-ignore]
    """Keys and values with room behind them: a token is written there, where the original copies all before it, too.

    `keys` and `values` are views of the room's beginning, (1, heads, tokens, size). Whoever cuts them makes the rest
    room again.
    """

    keys: Any
    values: Any
    _rooms: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and all values, with those of the new tokens at the end."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length, added = self.get_seq_length(), key_states.shape[-2]
        if self._rooms is None or not self._fits(self._rooms[0], length + added):
            self._rooms = (
                _roomy(self.keys, key_states, length),
                _roomy(self.values, value_states, length),
            )
        keys, values = self._rooms
        keys.narrow(-2, length, added).copy_(key_states)
        values.narrow(-2, length, added).copy_(value_states)
        self.keys = keys.narrow(-2, 0, length + added)
        self.values = values.narrow(-2, 0, length + added)
        return self.keys, self.values

    def _fits(self, room: torch.Tensor, length: int) -> bool:
        return room.shape[-2] >= length and self.keys.data_ptr() == room.data_ptr()


def _roomy(held: torch.Tensor, new: torch.Tensor, length: int) -> torch.Tensor:
    """Memory for `length` tokens that are held, for the new ones, and up to _STEP more."""
    tokens = -(-(length + new.shape[-2]) // _STEP) * _STEP
    room = new.new_empty((*new.shape[:-2], tokens, new.shape[-1]))
    if length:
        room.narrow(-2, 0, length).copy_(held)
    return room


def _empty() -> DynamicCache:
    # Without a config every layer keeps all its tokens, also where attention slides: only such a cache can be cut.
    cache = DynamicCache()
    cache.layer_class_to_replicate = RoomyLayer
    return cache


class TokenCache:
    """A Hugging Face cache together with the tokens it stands for.

    The tokens grow only when a whole pass has ended, so after a pass that broke off in the middle (some layers longer
    than others) `trim` makes all layers agree again.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self.layers = _empty()

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens whose keys and values are complete."""
        return tuple(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def commit(self, tokens: Sequence[int]) -> None:
        """Take over the tokens of a pass that ended well."""
        self._tokens.extend(tokens)

    def reuse(self, tokens: Sequence[int]) -> int:
        """Keep the longest common prefix with a new prompt, but leave at least one token to compute.

        Returns:
            Number of tokens that need no new pass.
        """
        limit = min(len(self._tokens), len(tokens) - 1)
        common = 0
        while common < limit and self._tokens[common] == tokens[common]:
            common += 1
        self.trim(common)
        return common

    def trim(self, length: int | None = None) -> None:
        """Cut every layer to `length` tokens, by default to those of completed passes."""
        length = len(self._tokens) if length is None else length
        del self._tokens[length:]
        if length == 0:
            self.layers = _empty()
            return
        for layer in self.layers.layers:
            if layer.get_seq_length() > length:
                layer.keys = layer.keys[..., :length, :]
                layer.values = layer.values[..., :length, :]

    def clear(self) -> None:
        """Forget everything."""
        self.trim(0)
