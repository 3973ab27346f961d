"""Every status, every error and every outcome of *Test connection* as a sentence in the user's language."""

from __future__ import annotations

from dataclasses import replace

from app import figures
from app.events import ConnectionReport, Failure, KeysStatus, Status
from app.i18n import translate
from fhe_client.error_codes import CODES, placeholders
from fhe_client.errors import TacitaError

STATUS_ICONS = {
    "offline": "status-offline",
    "starting": "status-connecting",
    "connecting": "status-connecting",
    "importing": "status-download",
    "preparing_keys": "status-keys",
    "auditing": "status-keys",
    "downloading_hints": "status-download",
    "ready": "status-ready",
    "prompt": "status-working",
    "token": "status-working",
    "reconnecting": "status-reconnecting",
}
WORKING = frozenset({"prompt", "token"})


def told(failure: Failure) -> Failure:
    """A failure in the user's language: the text of its code, as precise as its params allow.

    An unknown code, or a language that lacks the text, keeps the English that came with it, which
    says most precisely what happened.
    """
    known = CODES.get(failure.code)
    if known is None or translate("engine", known.message) == known.message:
        return failure
    given = {name: str(value) for name, value in failure.params.items()}
    chosen = next((t for t in known.detailed if placeholders(t) <= given.keys()), known.message)
    message = translate("engine", chosen)
    if placeholders(message) <= given.keys():  # a translator's slip must not hide the error
        message = message.format_map(given)
    return replace(failure, message=message, next_step=translate("engine", known.next_step))


def failure_from(error: TacitaError) -> Failure:
    """What to show of one of our own errors."""
    return told(Failure(error.code, error.message, error.next_step, params=error.params))


def status_icon(status: Status) -> str:
    """The icon's name for a status."""
    return STATUS_ICONS.get(status.state, "status-connecting")


def status_words(status: Status) -> str:
    """The status in words, with figures where they help."""
    words = {
        "offline": translate("status", "Offline"),
        "starting": translate("status", "Starting"),
        "connecting": translate("status", "Connecting"),
        "importing": translate("status", "Preparing the model for the local server"),
        "preparing_keys": translate("status", "Preparing keys"),
        "auditing": translate("status", "Checking the server's hints"),
        "downloading_hints": translate("status", "Downloading hints"),
        "ready": translate("status", "Ready"),
        "prompt": translate("status", "Reading the prompt"),
        "token": translate("status", "Writing"),
        "reconnecting": translate("status", "Connection lost, reconnecting"),
    }.get(status.state, translate("status", "Working"))
    return f"{words} {_progress(status)}".strip()


def _progress(status: Status) -> str:
    if status.state == "token" and status.done:
        return translate("status", "· token {0}").format(figures.count(status.done))
    if not status.total:
        return ""
    if status.unit == "bytes":
        done, total = figures.megabytes(status.done), figures.megabytes(status.total)
        return translate("status", "· {0} of {1}").format(done, total)
    return translate("status", "· {0} of {1}").format(
        figures.count(status.done), figures.count(status.total)
    )


def connection_words(report: ConnectionReport) -> tuple[str, str]:
    """What *Test connection* found, and what to do next."""
    if report.outcome == "ok":
        return _good_connection(report)
    known = {
        "name_not_found": (
            translate("connection", "The server's name was not found."),
            translate("connection", "Check the spelling of the URL and your network connection."),
        ),
        "refused": (
            translate("connection", "The computer answers, but no server runs there."),
            translate("connection", "Start tacita-server there, or check the port in the URL."),
        ),
        "timeout": (
            translate("connection", "The server did not answer in time."),
            translate("connection", "Check that it is running and that no firewall is in between."),
        ),
        "tls": (
            translate("connection", "The secure connection could not be established."),
            translate("connection", "Ask the server's operator about its certificate."),
        ),
        "not_tacita": (
            translate("connection", "Something answers there, but it is not a Tacita server."),
            translate("connection", "Check the URL, including the port and any path."),
        ),
        "wrong_version": (
            translate("connection", "The server speaks another version of the protocol."),
            translate("connection", "Update Tacita here or on the server, so that both match."),
        ),
        "unauthorised": (
            translate("connection", "The server did not accept the access token."),
            translate("connection", "Enter the token that the server's operator gave you."),
        ),
        "no_such_model": (
            translate("connection", "The server does not have this model."),
            translate("connection", "Choose another model, or leave the model empty."),
        ),
    }
    if report.certificate:
        return _shown_certificate()
    fallback = (
        report.message or translate("connection", "The connection could not be tested."),
        translate("connection", "Check the URL and try again."),
    )
    return known.get(report.outcome, fallback)


def _shown_certificate() -> tuple[str, str]:
    return (
        translate("connection", "Your system does not trust the server's certificate."),
        translate(
            "connection",
            "Ask the server's operator for its SHA-256 fingerprint and compare all of it with the "
            "one below. Pin it only if they are the same.",
        ),
    )


def _good_connection(report: ConnectionReport) -> tuple[str, str]:
    found = translate("connection", "Connected: round trip {0} ms.").format(round(report.rtt_ms))
    if not report.seconds_per_token:
        return found, ""
    estimate = translate("connection", "Expect about {0} and {1} per token.").format(
        figures.seconds(report.seconds_per_token), figures.megabytes(report.mb_per_token * 1e6)
    )
    return found, estimate


def keys_words(status: KeysStatus) -> str:
    """Where the keys are, in one sentence."""
    return {
        "keyring": translate("keys", "Your master key is kept in the system keyring."),
        "passphrase": translate("keys", "Your master key is sealed with your passphrase."),
        "session": translate(
            "keys", "Keys live in memory only. Chats are forgotten when you quit."
        ),
        "lost": translate("keys", "The master key is gone, so saved chats cannot be opened."),
        "missing": translate("keys", "There is no master key yet."),
        "unavailable": translate(
            "keys", "The system keyring cannot be reached, so it is not known whether a key exists."
        ),
    }.get(status.state, translate("keys", "The state of the keys is not known."))
