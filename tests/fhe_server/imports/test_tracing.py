"""Groups found by watching forward passes, and the models that are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fhe_server.errors import UnsupportedModelError
from fhe_server.imports import tracing
from fhe_server.imports.tracing import group_name, trace_groups, weight_matrix
from tests.tiny_models import FAMILIES, HIDDEN, VOCABULARY, tiny_model


def names(groups: list[tracing.TracedGroup]) -> list[list[str]]:
    return [[member.module for member in group.members] for group in groups]


def test_llama_has_four_groups_a_block_between_embedding_and_head() -> None:
    groups = trace_groups(tiny_model("llama"))
    assert [g.name for g in groups[:5]] == [
        "model.embed_tokens",
        "model.layers.0.self_attn.q_proj+k_proj+v_proj",
        "model.layers.0.self_attn.o_proj",
        "model.layers.0.mlp.gate_proj+up_proj",
        "model.layers.0.mlp.down_proj",
    ]
    assert [g.kind for g in groups] == ["embedding"] + ["linear"] * 9
    assert groups[-1].name == "lm_head"
    assert (groups[0].inputs, groups[0].outputs) == (VOCABULARY, HIDDEN)
    assert (groups[1].inputs, groups[1].outputs) == (HIDDEN, 2 * HIDDEN)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_large_matrix_of_every_family_is_in_one_group(family: str) -> None:
    model = tiny_model(family)
    groups = trace_groups(model)
    served = [module for members in names(groups) for module in members]
    linear = [n for n, m in model.named_modules() if tracing.is_linear(m)]
    embedding = [n for n, m in model.named_modules() if m is model.get_input_embeddings()]
    assert sorted(served) == sorted(linear + embedding)
    assert len({group.name for group in groups}) == len(groups)
    assert names(trace_groups(model)) == names(groups)


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text", "llama"])
def test_the_weight_matrix_is_what_the_module_multiplies_with(family: str) -> None:
    model = tiny_model(family)
    for group in trace_groups(model)[:3]:
        for member in group.members:
            module = model.get_submodule(member.module)
            matrix = weight_matrix(module)
            assert matrix.shape == (member.outputs, group.inputs)
            if group.kind == "embedding":
                token = torch.tensor([7])
                assert torch.allclose(module(token)[0], matrix[:, 7])
            else:
                x = torch.randn(2, group.inputs)
                bias = 0 if module.bias is None else module.bias
                assert torch.allclose(module(x), x @ matrix.T + bias, atol=1e-4)


def test_the_policy_keeps_layers_local() -> None:
    model = tiny_model("llama")
    groups = trace_groups(model, ("embed", "lm_head", "*.o_proj"))
    served = {module for members in names(groups) for module in members}
    assert len(groups) == 6
    assert not served & {"model.embed_tokens", "lm_head", "model.layers.1.self_attn.o_proj"}
    with pytest.raises(UnsupportedModelError, match="No layer"):
        trace_groups(model, ("*.nothing",))
    with pytest.raises(UnsupportedModelError, match="No layer"):
        trace_groups(model, ("embed", "*"))


def test_a_local_member_leaves_its_group() -> None:
    groups = trace_groups(tiny_model("llama"), ("*.k_proj",))
    assert groups[1].name == "model.layers.0.self_attn.q_proj+v_proj"


def patch_forward(model: Any, layer: nn.Module, forward: Any) -> Any:
    layer.forward = forward  # type: ignore[method-assign]
    return model


def test_a_layer_used_twice_in_a_pass_is_refused() -> None:
    model = tiny_model("llama")
    model.model.layers[1].mlp = model.model.layers[0].mlp
    with pytest.raises(UnsupportedModelError, match="more than once"):
        trace_groups(model)


def test_calls_that_depend_on_the_input_are_refused() -> None:
    model = tiny_model("llama")
    mlp = model.model.layers[0].mlp
    whole = mlp.forward
    patch_forward(model, mlp, lambda x: whole(x) if x.shape[1] > 1 else x)
    with pytest.raises(UnsupportedModelError, match="depends on its input"):
        trace_groups(model)


def test_a_model_that_looks_ahead_is_refused() -> None:
    model = tiny_model("llama")
    mlp = model.model.layers[0].mlp
    whole = mlp.forward
    patch_forward(model, mlp, lambda x: whole(x) + x.mean(dim=1, keepdim=True))
    with pytest.raises(UnsupportedModelError, match="not causal"):
        trace_groups(model)


class Doubling(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_layer_that_does_more_than_a_product_is_refused_unless_local() -> None:
    model = tiny_model("llama")
    model.model.layers[0].mlp.down_proj = Doubling(96, HIDDEN, bias=False)
    with pytest.raises(UnsupportedModelError, match="more than a matrix product"):
        trace_groups(model)
    assert len(trace_groups(model, ("model.layers.0.mlp.down_proj",))) == 9


def test_an_uncalled_layer_stays_local_if_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    model.model.spare = nn.Embedding(10, HIDDEN)
    model.model.unused = nn.Linear(10, HIDDEN)
    served = {m for members in names(trace_groups(model)) for m in members}
    assert not served & {"model.spare", "model.unused"}
    monkeypatch.setattr(tracing, "_MAX_LOCAL_BYTES", 4 * 10 * HIDDEN - 1)
    with pytest.raises(UnsupportedModelError, match=r"model\.spare\.weight"):
        trace_groups(model)


def test_a_shared_input_that_is_reshaped_for_each_layer_is_still_shared() -> None:
    trace = tracing._Trace()
    x = torch.randn(1, 3, 4)
    for name, tensor in (("a", x.reshape(-1, 4)), ("b", x.reshape(-1, 4)), ("c", x[:, 1:])):
        trace.calls.append(tracing._Call(name, tensor, tensor._version))
    assert trace.groups() == [["a", "b"], ["c"]]


def test_an_input_changed_in_place_is_another_input() -> None:
    trace = tracing._Trace()
    x = torch.randn(1, 3, 4)
    trace.calls.append(tracing._Call("a", x, x._version))
    x += 1
    trace.calls.append(tracing._Call("b", x, x._version))
    assert trace.groups() == [["a"], ["b"]]


def test_group_names_are_short_normalised_and_unique() -> None:
    assert group_name(["a.b.q", "a.b.k"], ()) == "a.b.q+k"
    assert group_name(["a.b.q", "a.c.k"], ()) == "a.b.q+c.k"
    assert group_name(["q", "k"], ()) == "q+k"
    assert group_name(["a/b é"], ()) == "a_b__"
    long = [f"layer.{'x' * 90}{i}" for i in range(9)]
    assert len(group_name(long, ())) == tracing.MAX_NAME
    assert group_name(["a/b"], {"a_b"}) not in ("a_b", group_name(["a b"], {"a_b"}))


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model("llama")
    trace_groups(model)
    assert not any(m._forward_hooks for m in model.modules())
