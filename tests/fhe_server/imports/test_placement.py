"""What each place of the two largest layers costs the client: the table is checked against real imports."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from fhe_client.crypto.session import window_bytes
from fhe_protocol.parameters import HINT_1024_24
from fhe_server.imports.importing import ImportOptions, import_model
from fhe_server.imports.placement import Layer, costs
from tests.tiny_models import save_tiny


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_costs_of_placements_are_those_of_the_imports_themselves(
    family: str, tmp_path: Path
) -> None:
    save_tiny(tmp_path / "source", family)
    choices = {
        "everything remote": (),
        "embedding local": ("embed",),
        "lm_head local": ("lm_head",),
    }
    choices["both local"] = ("embed", "lm_head")
    tables = []
    for label, local in choices.items():
        report = import_model(
            str(tmp_path / "source"), tmp_path / "models", None, ImportOptions(local=local)
        )
        manifest = report.manifest
        tensors = load_file(report.folder / "client" / "client.safetensors")
        own = next(cost for cost in report.placements if cost.label == label)
        assert own.query == manifest.query_bytes()
        assert own.answer == manifest.answer_bytes()
        assert own.hints == manifest.hint_bytes == (report.folder / "hints.bin").stat().st_size
        assert own.tensors == sum(tensor.nbytes for tensor in tensors.values())
        assert own.memory == own.tensors + window_bytes(manifest, 256)
        assert report.client_memory == pytest.approx(own.memory, abs=1 << 14)
        tables.append(report.placements)
    assert all(table == tables[0] for table in tables)
    assert [cost.label for cost in tables[0]] == list(choices)


def test_a_layer_that_shares_its_input_with_others_stays_where_it_is() -> None:
    layers = [
        Layer(300, 64, 1, 364, "embed", movable=True),
        Layer(64, 700, 1, 764, "lm_head", movable=False),
    ]
    found = costs(layers, 10, frozenset(), HINT_1024_24)
    assert [cost.label for cost in found] == ["everything remote", "embedding local"]
