"""`tacita keys status|use|rotate|export|import|erase`, to be mounted on the `tacita` command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from fhe_client.errors import TacitaError
from fhe_client.keys import files
from fhe_client.keys.marker import KEYRING, MODES, PASSPHRASE, SESSION
from fhe_client.keys.passphrase_input import PassphraseInput
from fhe_client.keys.store import KeyStore

_ASK_OPEN = "Passphrase of the key"
_ASK_NEW = "New passphrase of the key"
_ASK_RECOVERY = "Passphrase of the recovery file"
_MAX_RECOVERY_BYTES = 4096


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `keys` and its own commands to the main parser. The chosen one runs through `run`."""
    keys = subparsers.add_parser(
        "keys", help="where the master key is kept: show, move, change, save, erase"
    )
    commands = keys.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="say where the key is kept")
    status.add_argument("--json", action="store_true", help="for scripts")
    use = commands.add_parser("use", help="keep the key in another way from now on")
    use.add_argument(
        "mode", choices=MODES, help="keyring, passphrase (a locked file), session (nowhere)"
    )
    commands.add_parser("rotate", help="replace the key and seal everything anew")
    export = commands.add_parser(
        "export", help="write a recovery file, locked by its own passphrase"
    )
    export.add_argument("file", type=Path)
    recover = commands.add_parser("import", help="put the key of a recovery file in place")
    recover.add_argument("file", type=Path)
    recover.add_argument("--mode", choices=(KEYRING, PASSPHRASE), default=KEYRING)
    erase = commands.add_parser(
        "erase", help="delete the key and everything sealed with it, for good"
    )
    erase.add_argument("--yes", action="store_true", help="do not ask")
    erase.add_argument("--force", action="store_true", help="even if the keyring cannot be reached")


def run(
    args: argparse.Namespace,
    store: KeyStore | None = None,
    passphrases: PassphraseInput | None = None,
) -> int:
    """Run the chosen command. Return 0, or 1 after one sentence on standard error."""
    try:
        asking = passphrases or PassphraseInput()
        try:
            return _COMMANDS[args.keys_command](args, store or KeyStore(), asking)
        finally:
            asking.close()
    except TacitaError as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(f"A file could not be read or written: {error.strerror or error}.")


def _status(args: argparse.Namespace, store: KeyStore, _asking: PassphraseInput) -> int:
    status = store.status()
    if args.json:
        _say(json.dumps(asdict(status)))
    else:
        _say(status.detail)
        if status.key_id:
            _say(f"Key id: {status.key_id}")
    return 0 if status.state not in ("lost", "unavailable") else 1


def _use(args: argparse.Namespace, store: KeyStore, asking: PassphraseInput) -> int:
    state = store.status().state
    opening = fresh = None
    if state == PASSPHRASE and args.mode != SESSION:
        opening = asking.existing(_ASK_OPEN)
    if args.mode == PASSPHRASE:
        fresh = asking.fresh(_ASK_NEW)
    store.use(args.mode, opening, fresh).close()
    if args.mode == SESSION and state in (KEYRING, PASSPHRASE):
        _say("A stored key stays where it is. Choose the session key when Tacita starts.")
    else:
        _say(store.status().detail)
    return 0


def _rotate(_args: argparse.Namespace, store: KeyStore, asking: PassphraseInput) -> int:
    with store.rotate(_key_passphrase(store, asking)) as key:
        _say(f"The key was replaced and everything sealed anew. New key id: {key.key_id}")
    _say(
        "Earlier recovery files and backups no longer open this profile: export a new recovery file."
    )
    return 0


def _export(args: argparse.Namespace, store: KeyStore, asking: PassphraseInput) -> int:
    opening = _key_passphrase(store, asking)
    text = store.export_recovery(asking.fresh(_ASK_RECOVERY), opening)
    files.write_new(args.file, text.encode("ascii"))
    _say(f"Recovery file written to {args.file}. Keep it away from this computer.")
    return 0


def _import(args: argparse.Namespace, store: KeyStore, asking: PassphraseInput) -> int:
    with args.file.open("rb") as file:
        text = file.read(_MAX_RECOVERY_BYTES + 1)
    recovery = asking.existing(_ASK_RECOVERY)
    fresh = asking.fresh(_ASK_NEW) if args.mode == PASSPHRASE else None
    with store.import_recovery(text, recovery, args.mode, fresh) as key:
        _say(f"Key {key.key_id} is in place. {store.status().detail}")
    return 0


def _erase(args: argparse.Namespace, store: KeyStore, _asking: PassphraseInput) -> int:
    if not args.yes and not _confirmed():
        return _complain("Nothing was erased.")
    erased = store.erase(force=args.force)
    _say(f"Erased {_count(erased.keys, 'key')} and {_count(erased.files, 'sealed file')}.")
    return 0


_Command = Callable[[argparse.Namespace, KeyStore, PassphraseInput], int]
_COMMANDS: dict[str, _Command] = {
    "status": _status,
    "use": _use,
    "rotate": _rotate,
    "export": _export,
    "import": _import,
    "erase": _erase,
}


def _key_passphrase(store: KeyStore, asking: PassphraseInput) -> str | None:
    return asking.existing(_ASK_OPEN) if store.status().state == PASSPHRASE else None


def _confirmed() -> bool:
    _say("This deletes the key and everything sealed with it. It cannot be undone.")
    sys.stdout.write("Type “erase” to go on: ")
    sys.stdout.flush()
    return sys.stdin is not None and sys.stdin.readline().strip() == "erase"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _complain(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 1
