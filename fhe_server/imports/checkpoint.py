"""Checkpoints of causal language models: a Hugging Face id, a local folder, or a .gguf file.

Nothing of a checkpoint is executed: code that comes with a model is never trusted, and pickled weights are read with
torch's restricted unpickler.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fhe_server.errors import CheckpointError, UnsupportedModelError
from fhe_server.imports.gguf_files import parsed_once, streams, unpack
from fhe_server.progress import Progress, silent

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.safetensors"]
_DIGESTED = (".json", ".jinja", ".model", ".txt", ".safetensors", ".bin", ".gguf")
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Source:
    """Where a checkpoint lies on this machine.

    Attributes:
        label: what the user called it, without a path of this machine.
        folder: holds config, tokenizer and weights.
        gguf: the file inside `folder` that holds all three, or None.
    """

    label: str
    folder: Path
    gguf: str | None = None

    @property
    def load_arguments(self) -> dict[str, Any]:
        """Arguments that every `from_pretrained` of this source needs."""
        arguments: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        return arguments | ({"gguf_file": self.gguf} if self.gguf else {})

    def digest(self, progress: Progress = silent) -> str:
        """SHA-256 over the names and contents of the checkpoint's files, hexadecimal."""
        files = [self.folder / self.gguf] if self.gguf else _files(self.folder)
        total = sum(path.stat().st_size for path in files)
        outer, done = hashlib.sha256(), 0
        for path in files:
            inner = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    inner.update(chunk)
                    done += len(chunk)
                    progress("checking", done, total)
            outer.update(f"{path.name}\0{inner.hexdigest()}\n".encode())
        return outer.hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A loaded causal language model.

    Attributes:
        model: the Hugging Face model, float32, in eval mode, on the CPU.
        tokenizer: its tokenizer.
    """

    model: Any
    tokenizer: Any

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config


def find_source(source: str) -> Source:
    """Locate a checkpoint; a Hugging Face id is downloaded (safetensors only) or taken from the hub's cache.

    Raises:
        CheckpointError: there is nothing of that name.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder_source(path)
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise CheckpointError(
                f"{path.name} is not a .gguf file.", "Name the model's folder, or a .gguf file."
            )
        return Source(path.stem, path.resolve().parent, path.name)
    if _HUB_ID.fullmatch(source) and path.suffix.lower() != ".gguf":
        return Source(source, _from_hub(source))
    raise CheckpointError(
        f"There is no checkpoint {source[:200]!r}.",
        "Name a Hugging Face id (owner/model), a local folder, or a .gguf file.",
    )


def _folder_source(path: Path) -> Source:
    label = path.resolve().name
    if (path / "config.json").is_file():
        return Source(label, path)
    ggufs = sorted(p.name for p in path.glob("*.gguf"))
    if len(ggufs) == 1:
        return Source(label, path, ggufs[0])
    raise CheckpointError(
        f"The folder {label!r} has no config.json"
        + (" and several .gguf files." if ggufs else "."),
        "Name one .gguf file."
        if ggufs
        else "Name the folder that holds config.json and the weights.",
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        reason = {401: "does not exist or is private", 403: "is gated", 404: "does not exist"}
        raise CheckpointError(
            f"The model {name!r} {reason.get(status or 0, 'could not be fetched')} on Hugging Face.",
            "Check the id; for a gated model accept its terms and set HF_TOKEN.",
        ) from error
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError) as error:
        raise CheckpointError(
            f"There is no local folder {name!r}, and Hugging Face could not be reached for it.",
            "Check the spelling and the network, or import a local folder or a .gguf file.",
        ) from error


def _files(folder: Path) -> list[Path]:
    found = (p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith("."))
    return [p for p in found if p.suffix.lower() in _DIGESTED]


def load_checkpoint(source: Source, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Read model and tokenizer into memory.

    Args:
        dtype: of the weights. If it is the one they are stored in, safetensors stay mapped and take no memory.

    Raises:
        CheckpointError: files are missing or damaged.
        UnsupportedModelError: the model cannot be served; the configuration shows it before weights are read.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    with _load_errors(source):
        config = AutoConfig.from_pretrained(source.folder, **source.load_arguments)
    check_config(config)
    with _load_errors(source):
        model, report = AutoModelForCausalLM.from_pretrained(
            source.folder,
            config=config,
            dtype=dtype,
            weights_only=True,
            attn_implementation="eager",
            output_loading_info=True,
            **source.load_arguments,
        )
    _check_complete(source, model, report)
    return Checkpoint(model.eval(), _tokenizer(source))


def open_checkpoint(source: Source, scratch: Path) -> Checkpoint:
    """Model and tokenizer without reading the weights into memory: they are views of memory-mapped files.

    Weights keep the precision they are stored in, so the model must be run inside `wide.widened`. Formats
    that cannot be mapped (pickles, files of mixed precision) are read into memory as float32.

    Args:
        scratch: a file that may be written, where a .gguf file is unpacked to. It must outlive the model.

    Raises:
        As `load_checkpoint`.
    """
    with parsed_once() if source.gguf else nullcontext():
        if source.gguf:
            return _open_gguf(source, scratch)
        stored = _stored_dtype(source)
        if stored is None:
            return load_checkpoint(source)
        checkpoint = load_checkpoint(source, stored)
        return checkpoint if stored == torch.float32 else _in_float32(checkpoint)


_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def _stored_dtype(source: Source) -> torch.dtype | None:
    """The one precision of all weights in a folder of safetensors, or None."""
    from safetensors import safe_open

    found: set[str] = set()
    with _load_errors(source):
        for path in source.folder.glob("*.safetensors"):
            with safe_open(path, framework="pt") as file:
                found |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    found -= {"I64", "I32", "BOOL", "U8"}
    return _DTYPES.get(found.pop()) if len(found) == 1 else None


def _in_float32(checkpoint: Checkpoint) -> Checkpoint:
    """The same weights in a model that was built for float32: what it computes for itself is not half-precision."""
    from transformers.initialization import no_init_weights

    narrow = checkpoint.model
    with no_init_weights():  # its own weights are never touched, so they take no memory
        model = type(narrow)._from_config(
            narrow.config, dtype=torch.float32, attn_implementation="eager"
        )
    model.load_state_dict(narrow.state_dict(), assign=True, strict=True)
    model.generation_config = narrow.generation_config
    return Checkpoint(model.eval().requires_grad_(False), checkpoint.tokenizer)


def _open_gguf(source: Source, scratch: Path) -> Checkpoint:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig
    from transformers.initialization import no_init_weights

    assert source.gguf is not None
    with _load_errors(source):
        known = streams(source.folder / source.gguf)
    if not known:
        return load_checkpoint(source)
    with _load_errors(source):
        config = AutoConfig.from_pretrained(source.folder, **source.load_arguments)
    check_config(config)
    with _load_errors(source):
        model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        with torch.device("meta"), no_init_weights():
            skeleton = model_class._from_config(config)
        state = unpack(source.folder / source.gguf, skeleton, config.to_dict(), scratch)
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    _check_complete(source, model, report)
    return Checkpoint(model.eval(), _tokenizer(source))


def _tokenizer(source: Source) -> Any:
    from transformers import AutoTokenizer

    with _load_errors(source):
        tokenizer = AutoTokenizer.from_pretrained(source.folder, **source.load_arguments)
    if not len(tokenizer):
        raise CheckpointError(
            f"The checkpoint {source.label!r} has no tokenizer.", "Add its tokenizer.json."
        )
    return tokenizer


def _check_complete(source: Source, model: Any, report: Mapping[str, Any]) -> None:
    """A weight that is missing was filled with random numbers: refuse it."""
    missing = sorted(report.get("missing_keys", ()))
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    missing = [key for key in missing if key not in tied]
    if missing or report.get("mismatched_keys"):
        raise CheckpointError(
            f"The checkpoint {source.label!r} lacks weights of its own model"
            + (f" (first: {missing[0]})." if missing else "."),
            "Fetch it again; the copy is incomplete or belongs to another configuration.",
        )


@contextmanager
def _load_errors(source: Source) -> Iterator[None]:
    """Map what transformers, torch, safetensors and gguf raise on bad files, and keep their output off the terminal."""
    from transformers.utils import logging

    was_enabled, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):  # a progress bar of the gguf reader that has no switch
            yield
    except MemoryError:
        raise
    except Exception as error:
        raise _load_error(source, error) from error
    finally:
        logging.set_verbosity(level)
        if was_enabled:
            logging.enable_progress_bar()


def _load_error(source: Source, error: Exception) -> Exception:
    text = " ".join(str(error).replace(str(source.folder), source.label).split())
    if "trust_remote_code" in text or "contains custom code" in text:
        return UnsupportedModelError(
            f"{source.label!r} needs program code that comes with the checkpoint, which is never run.",
            "Choose a model whose architecture is part of transformers.",
        )
    if "Unrecognized configuration class" in text or "Should have a `model_type`" in text:
        return UnsupportedModelError(
            f"{source.label!r} is not a causal language model that transformers knows.",
            "Choose a text-generation model.",
        )
    return CheckpointError(
        f"The checkpoint {source.label!r} cannot be read ({type(error).__name__}: {text[:300]}).",
        "Fetch it again, or try another format of the same model.",
    )


def check_config(config: Any) -> None:
    """Refuse by configuration what would leak or cannot work.

    Raises:
        UnsupportedModelError: encoder-decoder, cross-attention, or mixture of experts.
    """
    fields = config.to_dict()
    if fields.get("is_encoder_decoder"):
        raise UnsupportedModelError(
            "This is an encoder-decoder model.", "Choose a causal (decoder-only) language model."
        )
    if fields.get("add_cross_attention"):
        raise UnsupportedModelError(
            "This model attends to a second input (cross-attention).",
            "Choose a causal (decoder-only) language model.",
        )
    expert = next(_expert_keys(fields), None)
    if expert is not None:
        raise UnsupportedModelError(
            f"This is a mixture of experts ({expert}): which experts are asked would tell the server "
            "about the text.",
            "Choose a dense model.",
        )


def _expert_keys(fields: Mapping[str, Any]) -> Iterator[str]:
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _expert_keys(value)
        elif "expert" in str(key) and type(value) is int and value > 1:
            yield f"{key} = {value}"
