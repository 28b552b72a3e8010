"""Who may ask for data: a token from a link, good for one exchange, becomes a key that only the browser's cookie holds."""

from __future__ import annotations

import hashlib
import secrets
import threading

MOST_TOKENS = 32
"""Links that wait to be opened; an older one is forgotten."""
MOST_KEYS = 256
"""Browsers that are in."""


class Keys:
    """Tokens and keys of one start of the studio: kept in memory alone, so that a new start knows none of them."""

    def __init__(self) -> None:
        self._tokens: dict[bytes, None] = {}
        self._keys: dict[bytes, None] = {}
        self._lock = threading.Lock()

    def new_token(self) -> str:
        """For the fragment of a link: 256 random bits."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            _remember(self._tokens, token, MOST_TOKENS)
        return token

    def exchange(self, token: str) -> str | None:
        """The key for a cookie; None where the token is unknown or was exchanged before."""
        key = secrets.token_urlsafe(32)
        with self._lock:
            if _digest(token) not in self._tokens:
                return None
            del self._tokens[_digest(token)]
            _remember(self._keys, key, MOST_KEYS)
        return key

    def holds(self, key: str | None) -> bool:
        """Whether a cookie's key is one of this start."""
        return key is not None and _digest(key) in self._keys


def _remember(known: dict[bytes, None], secret: str, most: int) -> None:
    known[_digest(secret)] = None
    while len(known) > most:
        del known[next(iter(known))]


def _digest(secret: str) -> bytes:
    # Looked up by digest: the time a look-up takes tells nothing of the secret.
    return hashlib.sha256(secret.encode()).digest()
