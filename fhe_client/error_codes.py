"""Every code that an error of the client can have, with its text: the closed list of the engine protocol.

An `error` event says in `message` what happened here and now. A program that shows another language takes the text of
the event's `code` instead: the first of `detailed` whose names in braces are all in the event's `params`, or `message`.
Values in `params` are strings that are safe to show: figures, names, never anything of a conversation.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorText:
    """What to tell about a code.

    Attributes:
        message: what happened, whatever `params` hold.
        next_step: what to do about it.
        detailed: the same as `message` with names of `params` in braces.
    """

    message: str
    next_step: str
    detailed: tuple[str, ...] = ()

    def told(self, params: Mapping[str, str]) -> str:
        """The most precise message that `params` allow."""
        for text in self.detailed:
            if placeholders(text) <= params.keys():
                return text.format_map(params)
        return self.message


def placeholders(text: str) -> frozenset[str]:
    """The names in braces."""
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name)


_SAYS = "The server says: {says}."
_FAULTY = "Try again; if it happens once more, the server is faulty or not to be trusted."
_ASK_THE_SERVER = "Choose another model, or ask whoever runs the server to import this one again."
_REPORT = "Please report this with its details; they hold nothing of what you wrote."
_RESTORE = "Restore the file from a backup, or use another one."
_NEW_SESSION = "Connect again."

CODES: Mapping[str, ErrorText] = {
    # --- the network and the server ---
    "network": ErrorText(
        "The server could not be reached.", "Check the server's address and try again."
    ),
    "bad_url": ErrorText(
        "The server's address, token or certificate cannot be used.",
        "Enter an address such as https://tacita.example.org.",
    ),
    "name_not_found": ErrorText(
        "The server's name was not found.",
        "Check the spelling of the address and the network connection.",
    ),
    "refused": ErrorText(
        "The server refused the connection.",
        "Check the address and port, and that the server is running.",
        (_SAYS,),
    ),
    "timeout": ErrorText(
        "The server did not answer in time.",
        "Check the network connection and try again in a moment.",
        (_SAYS,),
    ),
    "tls": ErrorText(
        "The connection to the server is not encrypted, or its certificate is not trusted.",
        "Use an https:// address. Where the certificate is not trusted, ask whoever runs the server for its SHA-256 "
        "fingerprint, compare it with the one that Test connection shows, and enter it.",
    ),
    "not_tacita": ErrorText(
        "What answers at this address is not a Tacita server.",
        "Check the address and port: another program answers there.",
    ),
    "wrong_version": ErrorText(
        "The server speaks another version of the protocol.",
        "Update Tacita here or on the server, so that both have the same version.",
        ("The server speaks protocol version {theirs}, this program {ours}.",),
    ),
    "unauthorised": ErrorText(
        "The server did not accept the access token.",
        "Enter the access token that you were given for this server.",
        (_SAYS,),
    ),
    "no_such_model": ErrorText(
        "The server does not serve this model.",
        "Choose one of the models that the server offers.",
        ("The server does not serve {model}; it serves: {served}.", _SAYS),
    ),
    "busy": ErrorText("The server has too much to do.", "Wait a moment and try again.", (_SAYS,)),
    "quota_exceeded": ErrorText(
        "What this access token may use today is used up.",
        "Wait until the quota begins anew, or ask whoever runs the server for a larger one.",
        (_SAYS,),
    ),
    "other_model": ErrorText(
        "The server now serves another model under the same name.",
        "Connect again to see what changed.",
        (_SAYS,),
    ),
    "model_changed": ErrorText(
        "The server's model is not the one that was used before. Nothing has been sent to it.",
        "If whoever runs the server changed it on purpose, accept the new one; otherwise do not use it.",
        (
            "The model {model} of {server} is not the one that was used before (it was {pinned}, now it is {found}). "
            "Nothing has been sent to it.",
        ),
    ),
    "protocol": ErrorText(
        "The server sent something that the protocol does not allow.", _FAULTY, (_SAYS,)
    ),
    "upgrade_refused": ErrorText(
        "The server, or a proxy on the way, does not speak WebSocket.", _NEW_SESSION
    ),
    "connection_lost": ErrorText(
        "The connection to the server broke.",
        "Check the network connection; what was written so far is kept.",
        (_SAYS,),
    ),
    "key_expired": ErrorText(
        "The server no longer has this session's compression key.",
        "Connect again; the key is then uploaded once more.",
        (_SAYS,),
    ),
    "stopped": ErrorText(
        "It was stopped.", "Start again when you like; what was downloaded is kept."
    ),
    "cancelled": ErrorText("It was cancelled.", "Start again when you like."),
    "hint_audit": ErrorText(
        "The server's hints do not match its answers: it is broken, or it lies. Nothing of yours was sent.",
        "Do not use this server; tell whoever runs it.",
        (
            "The server's hints do not match its answers in {bad} of {total} layers. Nothing of yours was sent.",
        ),
    ),
    "local_server": ErrorText(
        "The server on this computer could not be started or kept running.",
        "Try again; if it happens once more, install Tacita again.",
    ),
    # --- this computer's disk and memory ---
    "storage": ErrorText(
        "The cache folder is full, not writable, or in use by another window.",
        "Free some space on the disk and try again.",
        ("Not enough space on the disk: {needed_mb} MB are needed, {free_mb} MB are free.",),
    ),
    "hints_damaged": ErrorText(
        "The downloaded hints were changed on the disk.", "Connect again; they are downloaded anew."
    ),
    "pins_damaged": ErrorText(
        "The file with the pinned models cannot be read.",
        "Restore pins.json from a backup, or delete it to trust every model anew.",
    ),
    "disk_full": ErrorText("The disk is full.", "Free some space and try again."),
    "files": ErrorText(
        "A file or a connection could not be used.",
        "Check the permissions of Tacita's folders, or set TACITA_HOME to another one.",
        ("A file or a connection could not be used: {reason}.",),
    ),
    "port_taken": ErrorText(
        "The port cannot be used.",
        "Choose another one with --port.",
        ("Port {port} of this computer cannot be used.",),
    ),
    "memory": ErrorText("There is not enough memory.", "Close other programs."),
    # --- the model and what is asked of it ---
    "model": ErrorText("This request cannot be answered.", "Check the message and the settings."),
    "bad_model": ErrorText(
        "The model's files are damaged or contradict one another.", _ASK_THE_SERVER
    ),
    "unsupported_model": ErrorText(
        "This kind of model cannot be run with encrypted layers.", "Choose another model."
    ),
    "bad_template": ErrorText(
        "The model's chat template failed, or cannot do this.", _ASK_THE_SERVER
    ),
    "prompt_too_long": ErrorText(
        "The message is too long for this model.",
        "Shorten the message.",
        ("The message has {tokens} tokens, this model takes {limit}.",),
    ),
    "bad_messages": ErrorText(
        "The conversation is malformed or too long.", "Start a new conversation."
    ),
    "bad_pass": ErrorText(
        "The model asked for its layers in a way that is not safe.", _ASK_THE_SERVER
    ),
    "not_connected": ErrorText("There is no connection to a server.", "Connect first."),
    # --- cryptography ---
    "crypto": ErrorText("The encryption stopped itself.", _REPORT),
    "slot_reuse": ErrorText(
        "The encryption stopped before it used the same key material twice.", _REPORT
    ),
    "secret_wiped": ErrorText("The keys of this session were erased already.", _NEW_SESSION),
    "session_closed": ErrorText("The session has ended.", "Start a new one."),
    "model_too_large": ErrorText(
        "The keys of this model do not fit into this computer's memory.",
        "Choose a smaller model.",
        ("The keys of this model would need {gib} GiB of memory.",),
    ),
    "glwe_unavailable": ErrorText(
        "Concrete ML's scheme cannot be used here.", "Use the scheme “hint”, the default."
    ),
    "glwe_library": ErrorText(
        "The library of Concrete ML's scheme did something unexpected.",
        "Install concrete-ml-extensions 0.2, or use the scheme “hint”.",
    ),
    # --- keys ---
    "keys": ErrorText("Something is wrong with the keys.", "See the settings, Privacy."),
    "keys_file": ErrorText("The file could not be read or written.", "Choose another one."),
    "key_closed": ErrorText("The key was closed already.", _NEW_SESSION),
    "key_missing": ErrorText("There is no key yet.", "Choose first where your key is kept."),
    "key_exists": ErrorText("There is a key already.", "Use it, or erase it first."),
    "key_lost": ErrorText(
        "This profile's key is not where it should be.",
        "Restore the keyring, or the key from its recovery file.",
        ("The key of this profile ({key}) is not where it should be.",),
    ),
    "key_mismatch": ErrorText(
        "Another key was found than the one that this profile's data was sealed with.",
        "Restore the keyring, or the key from its recovery file.",
        ("This profile was last used with key {expected}, but key {found} was found.",),
    ),
    "key_rotated": ErrorText("Another window changed the key meanwhile.", "Open the key again."),
    "key_mode": ErrorText(
        "This cannot be done with the way that this profile keeps its key.",
        "Change where the key is kept first.",
    ),
    "rotation_unfinished": ErrorText(
        "The change of keys stopped half-way; no data is lost.", "It goes on at the next start."
    ),
    "marker_damaged": ErrorText(
        "keys.json is damaged, so it is not known which key this profile uses.",
        "Restore keys.json from a backup, or move it away: the key itself is not in it.",
    ),
    "profile_busy": ErrorText(
        "Another window uses this profile's keys.", "Close it, or wait a moment, and try again."
    ),
    "keyring_unavailable": ErrorText(
        "The keyring cannot be reached, so it is not known whether it holds your key.",
        "Unlock it and try again, or use a passphrase, or a key for this session only.",
    ),
    "keyring_refused": ErrorText(
        "The keyring of this computer does not keep secrets safely.",
        "Use a passphrase, or a key for this session only.",
        ("The keyring {name} is not used: {reason}.",),
    ),
    "keyring_locked": ErrorText(
        "The keyring is locked.",
        "Unlock it and try again, or use a passphrase, or a key for this session only.",
    ),
    "keyring_timeout": ErrorText(
        "The keyring did not answer in time.",
        "Try again, or use a passphrase, or a key for this session only.",
        ("The keyring did not answer within {seconds} seconds.",),
    ),
    "key_value_damaged": ErrorText(
        "The keyring's entry is not a key that this Tacita can read.",
        "Restore the key from its recovery file.",
    ),
    "passphrase_needed": ErrorText("The key is locked by a passphrase.", "Enter it."),
    "wrong_passphrase": ErrorText("The passphrase is wrong.", "Try again."),
    "weak_passphrase": ErrorText(
        "The passphrase is too short.",
        "Choose a longer one, such as four or more words.",
        ("The passphrase is shorter than {minimum} characters.",),
    ),
    "key_file_damaged": ErrorText("The key file is damaged or not one of Tacita's.", _RESTORE),
    "sealed": ErrorText("An encrypted file cannot be opened.", _RESTORE),
    "not_sealed": ErrorText("The file is not one of Tacita's encrypted files.", _RESTORE),
    "sealed_version": ErrorText(
        "The file was written by a newer Tacita.",
        "Update Tacita to read it.",
        ("The file has format version {version}; this Tacita reads version {known}.",),
    ),
    "wrong_key": ErrorText(
        "The file was encrypted with another key.",
        "Restore that key from its recovery file.",
        ("The file was sealed with key {sealed_with}, but the open key is {open_key}.",),
    ),
    "wrong_purpose": ErrorText(
        "The encrypted file is another one than it should be, perhaps moved or renamed.", _RESTORE
    ),
    "sealed_damaged": ErrorText(
        "The encrypted file was changed or cut short after it was written.", _RESTORE
    ),
    # --- saved chats ---
    "history": ErrorText(
        "The saved chats could not be read or written.",
        "Free some disk space; the message is still shown and can be copied.",
    ),
    "history_locked": ErrorText(
        "The saved chats cannot be opened with the present key.",
        "Unlock the keyring or passphrase that was used before. Nothing was changed.",
    ),
    "history_newer": ErrorText(
        "The saved chats were written by a newer Tacita.",
        "Install the newer version again, or move the history file away.",
    ),
    "history_import": ErrorText(
        "This file cannot be imported.",
        "Choose a JSON file that was exported by Tacita. Nothing was changed.",
    ),
    # --- this program ---
    "usage": ErrorText("The arguments make no sense together.", "See --help."),
    "self_test": ErrorText(
        "A part of Tacita does not work on this computer.", "Install Tacita again."
    ),
    "bad_command": ErrorText(
        "A command to the engine is not what the protocol says.",
        "This is a fault of the program that wrote it.",
    ),
    "error": ErrorText("Something went wrong.", "Try again."),
    "internal": ErrorText("Something went wrong inside Tacita.", _REPORT),
}
