"""Groups and integers of a model in this process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from fhe_client.concrete.quantised import (
    PART_INPUTS,
    layer_sizes,
    quantise_groups,
    quantise_rows,
    trace_groups,
    weight_of,
)
from fhe_client.model.errors import UnsupportedModelError
from tests.tiny_models import tiny_model


def linear_names(model: nn.Module) -> dict[str, nn.Module]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)}


def test_layers_that_share_their_input_are_one_group() -> None:
    model = tiny_model("llama")
    layers = linear_names(model)
    groups = trace_groups(layers, lambda: model(torch.tensor([[3, 4, 5]])))
    leaves = [[name.rpartition(".")[2] for name in group] for group in groups]
    block = [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]
    assert leaves == [*block, *block, ["lm_head"]]


def test_a_layer_that_is_not_used_is_refused() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})
    layers = linear_names(model)
    with pytest.raises(UnsupportedModelError, match="'b'"):
        trace_groups(layers, lambda: model["a"](torch.ones(1, 3)))
    assert not layers["a"]._forward_pre_hooks


def test_weights_come_out_as_outputs_by_inputs() -> None:
    convolution = Conv1D(5, 3)
    x = torch.randn(2, 3)
    due = x @ torch.from_numpy(weight_of(convolution)).T + convolution.bias
    torch.testing.assert_close(convolution(x), due)
    assert layer_sizes(convolution, "c") == (3, 5)
    assert layer_sizes(nn.Linear(3, 5), "l") == (3, 5)
    with pytest.raises(UnsupportedModelError, match="Embedding"):
        layer_sizes(nn.Embedding(3, 5), "e")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rows_are_rounded_to_half_a_step(bits: int) -> None:
    weight = np.random.default_rng(1).normal(size=(6, 50)).astype(np.float32)
    weight[3] = 0
    quantised, scale = quantise_rows(weight, bits)
    assert np.abs(quantised).max() == 2 ** (bits - 1) - 1
    error = np.abs(quantised * scale[:, None] - weight)
    assert (error <= scale[:, None] * 0.501).all()
    assert scale[3] == 0


def test_wide_groups_come_in_parts_that_the_hint_scheme_serves_well() -> None:
    layers: dict[str, Any] = {"wide": nn.Linear(2500, 4), "zero": nn.Linear(8, 3)}
    nn.init.zeros_(layers["zero"].weight)
    groups = quantise_groups(layers, [["wide"], ["zero"]], 8)
    wide, zero = groups.manifest.groups
    assert len(wide.parts) == 3
    assert max(part.inputs for part in wide.parts) <= PART_INPUTS
    wider = groups.weights[0].astype(np.int64)
    for part in wide.parts:
        norms = np.sqrt((wider[:, part.start : part.stop] ** 2).sum(axis=1))
        assert part.w_norm == pytest.approx(norms.max())
    assert zero.outputs == 3
    assert (groups.scales[1].row_scale == 0).all()
