"""A model so small that a GLWE token takes a second or two, and a server of both schemes around it."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from fhe_server.artefact import Artefact
from fhe_server.glwe.key_store import KeyLimits
from fhe_server.glwe.routes import GlweService
from fhe_server.imports.importing import ImportOptions, import_model
from fhe_server.service.app import ServedModel, create_app
from tests.servers import RunningServer, running_app
from tests.tiny_models import save_tiny

SHAPES = {
    "llama": {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 8,
    },
    "gpt2": {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_inner": 8},
}
SHORT_TEMPLATE = "{{ messages[-1]['content'] }}"
"""A prompt of few tokens: each takes about a second."""


@cache
def glwe_artefact(family: str = "llama") -> Path:
    """An artefact folder with token tables at home, imported once a run. Read it only."""
    root = Path(tempfile.mkdtemp(prefix="tacita-glwe-model-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    save_tiny(root / "checkpoint", family, **SHAPES[family])
    _shorten_template(root / "checkpoint")
    options = ImportOptions(local=("embed", "lm_head"), max_error=0.9)
    return import_model(str(root / "checkpoint"), root / "models", "tiny", options).folder


def _shorten_template(checkpoint: Path) -> None:
    settings = checkpoint / "tokenizer_config.json"
    document = json.loads(settings.read_text())
    document.pop("chat_template", None)
    settings.write_text(json.dumps(document))
    (checkpoint / "chat_template.jinja").write_text(SHORT_TEMPLATE)


@contextmanager
def glwe_server(*folders: Path, limits: KeyLimits | None = None) -> Iterator[RunningServer]:
    """The service with both schemes on a loopback port; skips the test where the library is missing."""
    pytest.importorskip("concrete_ml_extensions", reason="concrete-ml-extensions has no wheel here")
    models = {m.manifest.name: m for m in (ServedModel(Artefact(f)) for f in folders)}
    service = GlweService(models, limits or KeyLimits(keys=20, keys_per_owner=20))
    with running_app(create_app(models, frozenset(), service)) as server:
        server.app.state.glwe = service
        yield server
