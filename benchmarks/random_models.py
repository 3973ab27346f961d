"""Checkpoints with the shapes of well-known models and random weights, for where no model hub is in reach.

Random, but not harmless: weights are drawn from Student's t distribution with four degrees of freedom, and in every
layer eight inputs of each matrix are 50 to 100 times as large as the others, as outlier channels of trained models are.
`--plain` gives normally distributed weights and no outliers instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "llama-3.2-1b": (
        "llama",
        {
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_theta": 500000.0,
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        },
    ),
}
OUTLIERS = 8
_POOL = 1 << 23
_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def build(name: str, folder: Path, plain: bool = False, layers: int | None = None) -> None:
    """Write a checkpoint of `SHAPES[name]` in bfloat16, a layer at a time.

    Args:
        plain: normally distributed weights without outliers.
        layers: blocks instead of the model's own number.
    """
    from safetensors.torch import save_file
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    kind, fields = SHAPES[name]
    config = CONFIG_MAPPING[kind](**fields)
    if layers is not None:
        config.num_hidden_layers = layers
    config.dtype = torch.bfloat16
    config.bos_token_id = config.eos_token_id = 256
    model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    with torch.device("meta"):
        skeleton = model_class(config)
    folder.mkdir(parents=True)
    weights, files = _Weights(plain), {}
    for number, names in enumerate(_by_block(skeleton)):
        file = f"model-{number:05d}.safetensors"
        state = skeleton.state_dict()
        tensors = {n: weights.draw(n, tuple(state[n].shape)) for n in names}
        save_file(tensors, folder / file, {"format": "pt"})
        files |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    config.architectures = [model_class.__name__]
    config.save_pretrained(folder)
    _tokenizer(config.max_position_embeddings).save_pretrained(folder)


def _by_block(skeleton: Any) -> Iterator[list[str]]:
    """Names of the tensors, those of one block together; tied ones once."""
    groups: dict[str, list[str]] = {}
    tied = bool(skeleton.config.tie_word_embeddings)
    for name in skeleton.state_dict():
        if not (tied and name == "lm_head.weight"):
            number = next((word for word in name.split(".") if word.isdigit()), "")
            groups.setdefault(number, []).append(name)
    yield from groups.values()


class _Weights:
    def __init__(self, plain: bool) -> None:
        self._plain = plain
        self._rng = np.random.default_rng(1)
        drawn = self._rng.normal(size=_POOL) if plain else self._rng.standard_t(4, size=_POOL)
        self._pool = (drawn / drawn.std()).astype(np.float32)

    def draw(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """One tensor. Entries come from a pool of eight million, from another place for every row."""
        if len(shape) == 1:
            return torch.from_numpy(self._vector(name, shape[0])).to(torch.bfloat16)
        inputs = shape[0] if "c_" in name else shape[1]
        result = torch.empty(shape, dtype=torch.bfloat16)
        starts = self._rng.integers(_POOL - shape[1], size=shape[0])
        for row, start in enumerate(starts):
            result[row] = torch.from_numpy(self._pool[start : start + shape[1]])
        result *= 0.02 if name.endswith(("wte.weight", "embed_tokens.weight")) else inputs**-0.5
        if not self._plain:
            self._raise_outputs(name, result)
        return result

    def _vector(self, name: str, size: int) -> NDArray[np.float32]:
        if name.endswith(".bias"):
            return np.zeros(size, dtype=np.float32)
        gains = np.ones(size, dtype=np.float32)
        if not self._plain:
            gains[self._some(size)] = self._rng.uniform(50, 100, size=OUTLIERS)
        return gains

    def _raise_outputs(self, name: str, matrix: torch.Tensor) -> None:
        """What feeds the attention output and the last matrix of a block gets outlier channels, too."""
        factors = torch.from_numpy(self._rng.uniform(50, 100, size=(OUTLIERS, 1)))
        if name.endswith(("v_proj.weight", "up_proj.weight")):
            matrix[self._some(matrix.shape[0])] *= factors
        elif name.endswith("c_fc.weight"):
            matrix[:, self._some(matrix.shape[1])] *= factors.T
        elif name.endswith("c_attn.weight"):
            third = matrix.shape[1] // 3
            matrix[:, 2 * third + self._some(third)] *= factors.T

    def _some(self, size: int) -> NDArray[np.int64]:
        return self._rng.choice(size, OUTLIERS, replace=False)


def _tokenizer(longest: int) -> Any:
    """Bytes as tokens: any text is tokens that the model has, whatever its vocabulary is."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: k for k, symbol in enumerate([*alphabet, "<end>"])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", bos_token="<end>", model_max_length=longest
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer
