"""What importing transformers leaves out, each in a fresh process: in this one others have imported all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BUILD = """
import sys
from fhe_client.preparing import import_heavy_modules
import_heavy_modules()
from fhe_client.model.skeleton import build_skeleton
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
small = dict(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
             n_embd=8, n_layer=1, n_head=2)
def build(kind):
    return build_skeleton(CONFIG_MAPPING[kind].from_dict(small), 4)
def loaded(*names):
    return [name for name in names if name in sys.modules]
"""


def run(code: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::ImportWarning", "-c", BUILD + code]
    subprocess.run(command, env=environment, check=True, timeout=300, cwd=ROOT)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_model_is_built_without_what_no_client_runs(kind: str) -> None:
    run(
        f"assert build({kind!r}).config.model_type == {kind!r}\n"
        "assert not loaded('torch._dynamo', 'torch.distributed.tensor', 'sympy', 'torch.onnx')\n"
        "assert type(sys.modules['transformers']).__name__ == '_Unopened'"
    )


def test_whoever_asks_for_the_rest_gets_it() -> None:
    run("""
import transformers
before = build("llama")
assert type(sys.modules["transformers"]).__name__ == "_Unopened"
from transformers import AutoModelForCausalLM, LlamaForCausalLM
assert type(before) is LlamaForCausalLM  # the same modules, not another copy of them
assert transformers.AutoModelForCausalLM is AutoModelForCausalLM
assert transformers.models.LlamaConfig is transformers.LlamaConfig
import torch._dynamo.config
assert torch._dynamo.config.recompile_limit > 0
from transformers.masking_utils import TransformGetItemToIndex
with TransformGetItemToIndex():
    assert "torch._dynamo._trace_wrapped_higher_order_op" in sys.modules
""")


def test_the_stand_in_gives_way_to_the_compiler() -> None:
    run("""
from fhe_client.model.lean_imports import without_compiler
import torch
assert not loaded("torch._dynamo")
with without_compiler():
    stand_in = sys.modules["torch._dynamo"]
    assert stand_in.disable(build) is build
    assert stand_in.disable(recursive=False)(build) is build
    with without_compiler():
        assert sys.modules["torch._dynamo"] is stand_in
    assert sys.modules["torch._dynamo"] is stand_in
    assert callable(torch._dynamo.mark_static_address)
    real = sys.modules["torch._dynamo"]
    assert real is not stand_in
assert sys.modules["torch._dynamo"] is real
with without_compiler():
    assert sys.modules["torch._dynamo"] is real
""")


def test_where_transformers_is_there_already_nothing_changes() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = (
        "import sys, transformers\n"
        "from fhe_client.model.lean_imports import prepare_transformers\n"
        "prepare_transformers()\n"
        "assert sys.modules['transformers'] is transformers\n"
        "assert type(transformers).__name__ == '_LazyModule'"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=environment, check=True, timeout=300, cwd=ROOT)
