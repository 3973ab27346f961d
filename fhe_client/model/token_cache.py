"""The keys and values of the tokens that the model has seen, kept from turn to turn."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import DynamicCache


class TokenCache:
    """A Hugging Face cache together with the tokens it stands for.

    The tokens grow only when a whole pass has ended, so after a pass that broke off in the middle (some layers longer
    than others) `trim` makes all layers agree again.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        # Without a config every layer keeps all its tokens, also where attention slides: only such a cache can be cut.
        self.layers = DynamicCache()

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
            self.layers = DynamicCache()
            return
        for layer in self.layers.layers:
            if layer.get_seq_length() > length:
                layer.keys = layer.keys[..., :length, :]
                layer.values = layer.values[..., :length, :]

    def clear(self) -> None:
        """Forget everything."""
        self.trim(0)
