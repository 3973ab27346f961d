"""The weights of a .gguf file, unpacked tensor by tensor into a file that can be memory-mapped.

transformers unpacks a whole model into memory. Here one tensor is in memory at a time; its names and the layout of
each tensor are worked out by transformers' own tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fhe_server.errors import CheckpointError


@contextmanager
def parsed_once() -> Iterator[None]:
    """Inside, the header of a .gguf file is parsed once, not anew for configuration, tokenizer and weights.

    It takes seconds for a large vocabulary, and transformers asks for a new `gguf.GGUFReader` each time.
    """
    import gguf

    original, readers = gguf.GGUFReader, {}

    def reader(path: str | Path, mode: Any = "r") -> Any:
        key = (str(path), mode)
        if key not in readers:
            readers[key] = original(path, mode)
        return readers[key]

    gguf.GGUFReader = reader  # type: ignore[misc, assignment, unused-ignore]
    try:
        yield
    finally:
        gguf.GGUFReader = original  # type: ignore[misc, unused-ignore]


def streams(path: Path) -> bool:
    """Whether this module knows how to unpack the file's architecture."""
    import gguf
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    return _architecture(gguf.GGUFReader(str(path))) in GGUF_SUPPORTED_ARCHITECTURES


def unpack(
    path: Path, model: Any, config: dict[str, Any], scratch: Path
) -> dict[str, torch.Tensor]:
    """Write every tensor of `path` that `model` has to `scratch`, float32, and map that file.

    Args:
        model: of the right shape, on the meta device; its names are looked up.
        config: the model's configuration as a dictionary.

    Returns:
        Views of the mapped file, by the model's names. `scratch` must outlive them.
    """
    import gguf
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    reader = gguf.GGUFReader(str(path))
    processor = TENSOR_PROCESSORS.get(_architecture(reader), TensorProcessor)(config=config)
    names = get_gguf_hf_weights_map(_Names(model), processor)
    shapes: dict[str, tuple[int, ...]] = {}
    with scratch.open("wb") as file:
        for tensor in reader.tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            done = processor.process(
                weights=values, name=tensor.name, tensor_key_mapping=names, parsed_parameters={}
            )
            if done.name in names:
                shapes[names[done.name]] = done.weights.shape
                file.write(np.ascontiguousarray(done.weights, dtype=np.float32).data)
    if not shapes:
        raise CheckpointError("The .gguf file holds none of its model's weights.")
    return _mapped(scratch, shapes)


def _mapped(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    sizes = [prod(shape) for shape in shapes.values()]
    flat = torch.from_file(str(path), shared=False, size=sum(sizes), dtype=torch.float32)
    pieces = zip(shapes.items(), flat.split(sizes), strict=True)
    return {name: piece.view(shape) for (name, shape), piece in pieces}


def _architecture(reader: Any) -> str:
    field = reader.fields["general.architecture"]
    return bytes(field.parts[field.data[0]]).decode("utf-8", "replace")


class _Names:
    """What the table of names needs of a model. transformers asks every submodule, and builds its table for each."""

    def __init__(self, module: Any, depth: int = 1) -> None:
        self.config = getattr(module, "config", None)
        self._module, self._depth = module, depth

    def state_dict(self) -> Any:
        return self._module.state_dict()

    def named_children(self) -> list[tuple[str, _Names]]:
        if not self._depth:
            return []
        return [(n, _Names(m, self._depth - 1)) for n, m in self._module.named_children()]
