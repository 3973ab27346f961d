from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from fhe_client.model.token_cache import TokenCache

LAYERS = 2


def states(tokens: int, seed: int, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys (1, 3, tokens, 8) and values (1, 3, tokens, 6)."""
    generator = torch.Generator().manual_seed(100 * seed + layer)
    keys = torch.randn((1, 3, tokens, 8), generator=generator)
    return keys, torch.randn((1, 3, tokens, 6), generator=generator)


def grow(cache: TokenCache, twin: DynamicCache, tokens: int, seed: int) -> None:
    for layer in range(LAYERS):
        ours = cache.layers.update(*states(tokens, seed, layer), layer)
        theirs = twin.update(*states(tokens, seed, layer), layer)
        for mine, due in zip(ours, theirs, strict=True):
            assert torch.equal(mine, due)
    cache.commit(range(len(cache), len(cache) + tokens))


def test_holds_what_the_library_s_own_cache_holds() -> None:
    """Over several steps of room, long and short passes."""
    cache, twin = TokenCache(), DynamicCache()
    for seed, tokens in enumerate((3, 1, 1, 250, 1, 1, 256, 1, 600, 1)):
        grow(cache, twin, tokens, seed)
    assert len(cache) == twin.get_seq_length() == 1115
    assert cache.layers.get_seq_length() == 1115


@pytest.mark.parametrize("length", [1, 5, 256, 299])
def test_what_was_cut_is_written_over_and_never_seen_again(length: int) -> None:
    cache, twin = TokenCache(), DynamicCache()
    grow(cache, twin, 300, 1)
    cache.trim(length)
    for layer in twin.layers:
        layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]
    grow(cache, twin, 1, 2)
    grow(cache, twin, 40, 3)
    assert len(cache) == length + 41


def test_a_pass_that_broke_off_leaves_all_layers_alike() -> None:
    cache, twin = TokenCache(), DynamicCache()
    grow(cache, twin, 4, 1)
    cache.layers.update(*states(1, 9, 0), 0)  # the second layer never came
    cache.trim()
    grow(cache, twin, 1, 2)


def test_one_token_does_not_copy_those_before_it() -> None:
    cache, twin = TokenCache(), DynamicCache()
    grow(cache, twin, 10, 1)
    before = [layer.keys.data_ptr() for layer in cache.layers.layers]
    for seed in range(2, 40):
        grow(cache, twin, 1, seed)
    assert [layer.keys.data_ptr() for layer in cache.layers.layers] == before


def test_nothing_is_left_after_clear() -> None:
    cache = TokenCache()
    grow(cache, DynamicCache(), 10, 1)
    cache.clear()
    assert len(cache) == 0
    assert cache.tokens == ()
    grow(cache, DynamicCache(), 2, 5)


def test_a_new_prompt_keeps_what_begins_alike() -> None:
    cache, twin = TokenCache(), DynamicCache()
    grow(cache, twin, 10, 1)
    assert cache.reuse([0, 1, 2, 3, 99, 5, 6]) == 4
    assert cache.layers.get_seq_length() == 4
    assert cache.reuse([0, 1, 2, 3]) == 3, "one token is left to compute"
