"""Addresses: what is accepted, in one spelling, and what is refused before anything is sent."""

from __future__ import annotations

import pytest

from fhe_client.network.errors import BadUrlError, InsecureUrlError
from fhe_client.network.origin import parse_origin

GOOD = {
    "http://localhost:8471": "http://localhost:8471",
    " http://127.0.0.1:8471/ ": "http://127.0.0.1:8471",
    "http://[::1]:8471": "http://[::1]:8471",
    "http://127.8.9.10": "http://127.8.9.10",
    "https://Tacita.Example.org": "https://tacita.example.org",
    "https://tacita.example.org:443/": "https://tacita.example.org",
    "https://example.org:8443/llm/": "https://example.org:8443/llm",
    "https://bücher.example": "https://xn--bcher-kva.example",
    "HTTPS://192.0.2.7": "https://192.0.2.7",
}
INSECURE = [
    "http://example.org",
    "http://192.168.1.5:8471",
    "http://localhost.example.org",
    "http://127.0.0.1.example.org",
    "http://[2001:db8::1]",
    "http://0.0.0.0",
]
BAD = [
    "",
    "localhost:8471",
    "tacita.example.org",
    "ftp://example.org",
    "file:///etc/passwd",
    "https://",
    "https://:8471",
    "https://example.org:99999",
    "https://example.org:port",
    "https://user@example.org",
    "https://user:secret@example.org",
    "https://example.org/?token=secret",
    "https://example.org/#x",
    "https://example.org?",
    "https://example.org/a/../b",
    "https://example.org/%2e%2e",
    "https://example.org\\@evil.example",
    "https://exam ple.org",
    "https://example.org/\r\nHost: evil",
    "https://[::1",
    "https://" + "a" * 600,
]


@pytest.mark.parametrize(("url", "expected"), GOOD.items())
def test_good_addresses_have_one_spelling(url: str, expected: str) -> None:
    assert parse_origin(url).url == expected
    assert parse_origin(parse_origin(url).url) == parse_origin(url)


@pytest.mark.parametrize("url", INSECURE)
def test_clear_text_stays_on_this_computer(url: str) -> None:
    with pytest.raises(InsecureUrlError, match="https") as refused:
        parse_origin(url)
    assert refused.value.code == "tls"


@pytest.mark.parametrize("url", BAD)
def test_bad_addresses_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadUrlError) as refused:
        parse_origin(url)
    assert refused.value.next_step
    assert "secret" not in str(refused.value)


def test_loopback_is_literal() -> None:
    assert parse_origin("https://localhost").loopback
    assert not parse_origin("https://localhost.example").loopback
    assert not parse_origin("https://10.0.0.1").loopback
