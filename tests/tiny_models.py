"""Tiny random causal language models of many families, saved as Hugging Face checkpoints: what import is tested on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

HIDDEN = 64
CONTEXT = 512
VOCABULARY = 300
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TRAINING_TEXT = (
    "the cat sat on the mat and the dog ran after the cat in the garden where nothing is heard "
    "this is the house that jack built and these are the words that the house was made of"
)

_DECODER: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {**_DECODER, "tie_word_embeddings": True},
    "gpt2": {"n_embd": HIDDEN, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT},
    "qwen2": _DECODER,
    "qwen3": {**_DECODER, "head_dim": 16},
    "gemma2": {**_DECODER, "head_dim": 16, "sliding_window": 32},
    "gemma3_text": {**_DECODER, "head_dim": 16, "sliding_window": 32},
    "mistral": {**_DECODER, "sliding_window": 32},
    "phi3": _DECODER,
    "gpt_neox": {k: v for k, v in _DECODER.items() if k != "num_key_value_heads"},
    "opt": {
        "hidden_size": HIDDEN,
        "ffn_dim": 96,
        "word_embed_proj_dim": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
    },
}
REFUSED: dict[str, dict[str, Any]] = {
    "mixtral": {**_DECODER, "num_local_experts": 4},
    "t5": {"d_model": HIDDEN, "num_layers": 1, "num_heads": 2, "d_ff": 96, "d_kv": 16},
    "bert": {k: v for k, v in _DECODER.items() if k != "num_key_value_heads"},
}


def tiny_config(family: str, **changes: Any) -> Any:
    """The configuration of a tiny model; `changes` override its fields."""
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    return CONFIG_MAPPING[family](**({**tokens, **(FAMILIES | REFUSED)[family]} | changes))


def tiny_model(family: str, seed: int = 1, **changes: Any) -> Any:
    """A random model, float32, in eval mode; its weights are large enough to give varied text."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family, **changes), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.mul_(5.0)
            elif "norm" not in name and "ln_" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def tiny_tokenizer() -> Any:
    """A byte-level BPE tokenizer of exactly VOCABULARY tokens with a chat template."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([_TRAINING_TEXT], trainer)
    assert inner.get_vocab_size() == VOCABULARY
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[0],
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_tiny(
    folder: Path, family: str, *, shard: str = "5GB", seed: int = 1, **changes: Any
) -> Any:
    """Save a tiny model and its tokenizer as a Hugging Face checkpoint.

    Args:
        shard: size at which the weights are split over files, as save_pretrained takes it.

    Returns:
        The model.
    """
    model = tiny_model(family, seed, **changes)
    model.save_pretrained(folder, max_shard_size=shard)
    tiny_tokenizer().save_pretrained(folder)
    return model


def save_tiny_gguf(path: Path, model: Any) -> None:
    """Write a tiny Llama as a .gguf file, float32, with the byte-level tokenizer and its chat template."""
    from gguf import GGUFWriter, TokenType

    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    inner = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(inner["vocab"], key=inner["vocab"].get)
    writer.add_token_list(tokens)
    writer.add_token_types(
        [TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in tokens]
    )
    writer.add_token_merges([" ".join(merge) for merge in inner["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, tensor in _gguf_tensors(model):
        writer.add_tensor(name, tensor.detach().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _gguf_tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    config = model.config
    yield "token_embd.weight", model.model.embed_tokens.weight
    yield "output_norm.weight", model.model.norm.weight
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for index, layer in enumerate(model.model.layers):
        for theirs, ours in _GGUF_NAMES.items():
            weight = layer.get_submodule(theirs).weight
            if (count := heads.get(theirs.rpartition(".")[2])) is not None:
                # llama.cpp keeps the two halves of a rotation next to each other.
                half = weight.shape[0] // count // 2
                weight = weight.reshape(count, 2, half, -1).swapaxes(1, 2).reshape(weight.shape)
            yield f"blk.{index}.{ours}.weight", weight
