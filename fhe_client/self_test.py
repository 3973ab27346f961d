"""`tacita --self-test`: does this installation work, on this computer, all the way to an encrypted reply?

    versions, folders, keyring, a model made here and imported by the embedded server, encrypt -> multiply -> decrypt
    against the server's own integers, a short encrypted reply.

Nothing of the user's is touched but a throw-away keyring entry and a file in each folder, both deleted at once; the
model, its server and its keys live in a temporary folder. The window adds its own lines (app.self_test).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhe_client.environment import quiet_libraries
from fhe_client.errors import TacitaError
from fhe_client.failures import describe
from fhe_client.home import Home
from fhe_client.printing import clean
from fhe_protocol.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fhe_client.local_server import LocalServer
    from fhe_protocol.manifest import Group, Manifest

MODEL = "self-test"
LARGEST_ERROR = 0.05
"""Decryption noise over a typical output: the tiny groups have far less, a broken kernel far more."""

_ROWS = 3
_REPLY_TOKENS = 4
_LIBRARIES = ("torch", "transformers", "numpy", "cryptography", "keyring", "PySide6-Essentials")
_NEXT_STEP = "Install Tacita again; if that does not help, report this table."


class SelfTestError(TacitaError):
    """A check that ran to its end and found something wrong."""

    code = "self_test"


@dataclass
class Workspace:
    """What later checks take over from earlier ones. `folder` is temporary, `home` a profile inside it."""

    folder: Path
    server: LocalServer | None = None
    undo: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def home(self) -> Home:
        """The throw-away profile."""
        return Home.at(self.folder / "profile")

    @property
    def models(self) -> Path:
        """The embedded server's models."""
        return self.folder / "models"


Check = Callable[[Workspace], str]
"""One check: returns what it found in a few words, or raises."""


@dataclass(frozen=True)
class Finding:
    """One line of the table. `outcome` is "ok", "failed" or "skipped"."""

    name: str
    outcome: str
    detail: str
    seconds: float


def check_versions(_space: Workspace) -> str:
    """Which versions of what are at work."""
    from importlib.metadata import PackageNotFoundError, version

    found = [f"tacita {__version__}", f"python {platform.python_version()}"]
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join([*found, platform.platform()])


def check_folders(_space: Workspace) -> str:
    """Every folder of the profile can be written to and is closed to others."""
    home = Home.locate().ensure()
    for folder in home.folders:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"tacita")
    return str(home.data)


def check_keyring(_space: Workspace) -> str:
    """A throw-away secret goes into the keyring, comes back, and is gone after its deletion."""
    from fhe_client.keys.backends import KeyringAccess

    status = KeyringAccess().probe()
    if not status.usable:
        raise SelfTestError(status.detail, "Unlock or start the keyring; or use a passphrase.")
    return f"{status.backend}: stored, read, deleted"


def check_import(space: Workspace) -> str:
    """torch and transformers make a tiny random model, and the embedded server's program imports it."""
    import subprocess

    from fhe_client.local_server import require_server_packages, server_command

    require_server_packages()
    save_checkpoint(space.folder / "checkpoint")
    command = server_command(["import", str(space.folder / "checkpoint"), "--name", MODEL])
    command += ["--models", str(space.models), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False,
                          stdin=subprocess.DEVNULL)  # fmt: skip
    if done.returncode:
        raise SelfTestError(f"Importing failed: {done.stderr.strip()[-400:]}", _NEXT_STEP)
    return done.stdout.strip().splitlines()[0]


def check_server(space: Workspace) -> str:
    """The embedded server starts on the loopback interface and is healthy."""
    from fhe_client.local_server import LocalServer

    space.server = LocalServer.start(MODEL, space.home.ensure(), models=space.models)
    space.undo.callback(space.server.close)
    return f"listens on {space.server.url}"


def check_round_trip(space: Workspace) -> str:
    """Every group: random inputs are encrypted, multiplied by the server, decrypted, and compared with the integers."""
    import numpy as np

    from fhe_client.crypto.session import InferenceSession
    from fhe_client.keys.master_key import MasterKey
    from fhe_client.network.hint_store import HintStore
    from fhe_client.network.meter import TrafficMeter
    from fhe_client.network.transport import ServerConnection

    meter = TrafficMeter()
    worst = 0.0
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(ServerConnection(_url(space), token=None, meter=meter))
        key = stack.enter_context(MasterKey.generate(origin="session"))
        manifest = connection.manifest(MODEL)
        hints = HintStore(space.home.cache).ensure(manifest, connection)
        channel = stack.enter_context(contextlib.closing(connection.open_rounds(manifest)))
        session = stack.enter_context(InferenceSession(manifest, channel, hints, key))
        session.begin_pass(_ROWS)
        rng = np.random.default_rng(1)
        for group, weights in _weights(space.models / MODEL / "weights.bin", manifest):
            if group.kind == "linear":
                x = rng.standard_normal((_ROWS, group.inputs)).astype(np.float32)
                expected = x @ weights.T
                difference = session.run_group(group, x) - expected
                worst = max(worst, float(np.std(difference) / np.std(expected)))
    if not worst < LARGEST_ERROR:
        raise SelfTestError(f"Decrypted products are off by {worst:.1%}.", _NEXT_STEP)
    traffic = meter.snapshot().of("rounds")
    return f"largest error {worst:.2%}, {traffic[0]} bytes up, {traffic[1]} bytes down"


def check_reply(space: Workspace) -> str:
    """A question is answered by the tiny model, encrypted, by the way that every chat goes."""
    from fhe_client.chat_events import Callbacks, ConnectOptions
    from fhe_client.connect import open_chat
    from fhe_client.keys.master_key import MasterKey
    from fhe_client.text.generation import GenerationOptions
    from fhe_client.text.transcript import Message

    options = ConnectOptions(url=_url(space), model=MODEL)
    with (
        MasterKey.generate(origin="session") as key,
        open_chat(options, key, Callbacks(), space.home) as chat,
    ):
        question = [Message("user", "Is anybody listening?")]
        reply = chat.ask(question, GenerationOptions(max_tokens=_REPLY_TOKENS, temperature=0))
    if not reply.reply_tokens:
        raise SelfTestError("No token came back.", _NEXT_STEP)
    return f"{reply.reply_tokens} tokens, {reply.rounds} rounds"


CHECKS: tuple[tuple[str, Check], ...] = (
    ("versions", check_versions),
    ("folders", check_folders),
    ("keyring", check_keyring),
    ("import", check_import),
    ("server", check_server),
    ("round trip", check_round_trip),
    ("reply", check_reply),
)


def run(checks: Sequence[tuple[str, Check]], skip: Sequence[str] = ()) -> Iterator[Finding]:
    """Run the checks in order; one that fails does not keep the others from being tried."""
    quiet_libraries()
    with tempfile.TemporaryDirectory(prefix="tacita-self-test-") as folder:
        space = Workspace(Path(folder))
        with space.undo:
            for name, check in checks:
                if name in skip:
                    yield Finding(name, "skipped", "", 0.0)
                else:
                    yield _run_one(name, check, space)


def _run_one(name: str, check: Check, space: Workspace) -> Finding:
    began = time.perf_counter()
    try:
        detail, outcome = check(space), "ok"
    except Exception as error:
        failure = describe(error)
        detail, outcome = f"{failure.message} {failure.next_step}".strip(), "failed"
        if failure.internal:
            detail = f"{type(error).__name__}: {str(error)[:300]}"
    return Finding(name, outcome, detail, round(time.perf_counter() - began, 2))


def main(arguments: Sequence[str], more: Sequence[tuple[str, Check]] = ()) -> int:
    """Print the table, or with `--json` one object; 0 if nothing failed.

    Args:
        more: checks of whoever knows more than this package, such as the window's.
    """
    checks = (*CHECKS[:3], *more, *CHECKS[3:])
    names = [name for name, _ in checks]
    parser = argparse.ArgumentParser(prog="tacita --self-test", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--skip", action="append", default=[], choices=names, help="leave one out")
    options = parser.parse_args(arguments)
    findings = []
    for finding in run(checks, options.skip):
        findings.append(finding)
        if not options.json:
            sys.stdout.write(_line(finding))
            sys.stdout.flush()
    failed = [finding.name for finding in findings if finding.outcome == "failed"]
    if options.json:
        result = {"ok": not failed, "checks": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "everything works\n")
    return 1 if failed else 0


def _line(finding: Finding) -> str:
    return f"{finding.outcome:<8} {finding.name:<11} {finding.seconds:6.2f} s  {clean(finding.detail)}\n"


def _url(space: Workspace) -> str:
    if space.server is None:
        raise SelfTestError("There is no server to ask.", "See the lines above.")
    return space.server.url


def _weights(path: Path, manifest: Manifest) -> Iterator[tuple[Group, NDArray[Any]]]:
    """The server's integers: (m, n) of each group, float32."""
    import numpy as np

    data, offset = np.fromfile(path, dtype=np.int8), 0
    for group in manifest.groups:
        parts = []
        for part in group.parts:
            size = group.outputs * part.inputs
            parts.append(data[offset : offset + size].reshape(group.outputs, part.inputs))
            offset += size
        yield group, np.concatenate(parts, axis=1).astype(np.float32)


def save_checkpoint(folder: Path) -> None:
    """A random Llama of two layers with a byte-level tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    special = ["<|end|>", "<|start|>"]
    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    config = LlamaConfig(
        vocab_size=len(names), hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        bos_token_id=1, eos_token_id=0, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    inner = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=special[1], eos_token=special[0], pad_token=special[0]
    )
    turn = "<|start|>{{ m['role'] }}: {{ m['content'] }}<|end|>"
    tokenizer.chat_template = "{% for m in messages %}" + turn + "{% endfor %}<|start|>"
    tokenizer.save_pretrained(folder)
