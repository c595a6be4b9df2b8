"""Payloads encrypted at rest, with keys that can be exchanged. Needs the extra `encryption`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


class SecrecyError(Exception):
    """Encryption can't be set up, or a payload not be opened; the text is one line that says what to do, without keys."""


class Vault:
    """Seals bytes with the first of its keys, and opens what any of them sealed.

    Keys are Fernet keys: 32 bytes in URL-safe base64, as `Vault.new_key()` makes them. Put a new one first, `rotate`
    what is stored, then drop the old one. Raises SecrecyError without a key, with a malformed one, or where the extra
    `encryption` is not installed.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        if isinstance(keys, (str, bytes)):
            keys = [keys]
        self._fernet = _fernet(keys)

    def __repr__(self) -> str:
        return "Vault(...)"

    @staticmethod
    def new_key() -> str:
        """A fresh random key."""
        return _library().Fernet.generate_key().decode()

    def seal(self, data: bytes) -> bytes:
        """The data encrypted and signed."""
        return self._fernet.encrypt(data)

    def open(self, sealed: bytes) -> bytes:
        """The data that was sealed. Raises SecrecyError where no key fits, or a byte was changed."""
        try:
            return self._fernet.decrypt(sealed)
        except _library().InvalidToken:
            raise _unopened() from None

    def rotate(self, sealed: bytes) -> bytes:
        """The same data sealed with the first key. Raises SecrecyError as `open` does."""
        try:
            return self._fernet.rotate(sealed)
        except _library().InvalidToken:
            raise _unopened() from None


def _fernet(keys: Sequence[str | bytes]) -> MultiFernet:
    library = _library()
    if not keys:
        raise SecrecyError("no encryption key is given: make one with Vault.new_key()")
    made = []
    for number, key in enumerate(keys, start=1):
        try:
            made.append(library.Fernet(key))
        except (TypeError, ValueError):  # its text may show the key
            raise SecrecyError(
                f"encryption key {number} of {len(keys)} is malformed: a key is 32 bytes in URL-safe base64, as "
                "Vault.new_key() makes it"
            ) from None
    return library.MultiFernet(made)


def _library() -> Any:
    """The module of cryptography, imported only by those who encrypt."""
    try:
        from cryptography import fernet
    except ImportError:
        raise SecrecyError('encryption needs the package cryptography: pip install "unhush[encryption]"') from None
    return fernet


def _unopened() -> SecrecyError:
    return SecrecyError("a sealed payload can't be opened: none of the encryption keys fits it, or it was changed")
