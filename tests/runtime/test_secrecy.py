"""Encryption at rest: what a vault seals and opens, and what it says where it can't."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unhush.runtime.secrecy import SecrecyError, Vault

KEYS = [Vault.new_key() for _ in range(2)]
VAULT = Vault(KEYS)


@given(st.binary())
def test_what_is_sealed_opens_equal_and_shows_nothing(data: bytes) -> None:
    """Opening gives back the bytes, and the sealed ones do not hold them."""
    sealed = VAULT.seal(data)
    assert VAULT.open(sealed) == data
    assert len(data) < 4 or data not in sealed


def test_a_key_can_be_exchanged() -> None:
    """What the old key sealed opens beside a new one, and without the old one once it was rotated."""
    old, both, new = Vault([KEYS[1]]), Vault(KEYS), Vault([KEYS[0].encode()])
    sealed = old.seal(b"payload")
    with pytest.raises(SecrecyError, match="none of the encryption keys fits"):
        new.open(sealed)
    assert both.open(sealed) == b"payload"
    assert new.open(both.rotate(sealed)) == b"payload"


def test_changed_bytes_do_not_open() -> None:
    """A sealed payload with one bit turned is refused, by open and by rotate."""
    sealed = bytearray(VAULT.seal(b"payload"))
    sealed[20] ^= 1
    for act in (VAULT.open, VAULT.rotate):
        with pytest.raises(SecrecyError, match="can't be opened"):
            act(bytes(sealed))


@pytest.mark.parametrize(
    "key", ["s3cret-key", "", "ü" * 44, b"x" * 44, KEYS[0][:-2]], ids=["short", "none", "letters", "bytes", "cut"]
)
def test_a_malformed_key_is_refused_without_showing_it(key: str | bytes) -> None:
    """The error is one line that says which key it is and what to do, and the key is nowhere in it."""
    with pytest.raises(SecrecyError) as caught:
        Vault([KEYS[0], key])
    text = str(caught.value)
    assert text.startswith("encryption key 2 of 2 is malformed")
    assert "\n" not in text
    assert not key or (key if isinstance(key, str) else key.decode()) not in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("keys", [[], ()])
def test_no_key_is_refused(keys: Sequence[str]) -> None:
    """A vault without a key can't be made, and the error says how to get one."""
    with pytest.raises(SecrecyError, match=r"no encryption key is given: make one with Vault.new_key\(\)"):
        Vault(keys)


def test_a_single_key_is_taken_as_one() -> None:
    """A text in place of a list is one key, not a list of letters."""
    assert Vault(KEYS[1]).open(Vault([KEYS[1]]).seal(b"x")) == b"x"


def test_a_vault_does_not_show_its_keys() -> None:
    """Neither repr nor str of a vault holds a key."""
    assert repr(VAULT) == str(VAULT) == "Vault(...)"


def test_without_the_extra_one_line_says_what_to_install() -> None:
    """Where cryptography is missing the module still imports, and a vault says what to install."""
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from unhush.runtime.secrecy import SecrecyError, Vault\n"
        "try:\n    Vault(['x'])\nexcept SecrecyError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == 'encryption needs the package cryptography: pip install "unhush[encryption]"\n'


def test_cryptography_is_imported_by_those_who_encrypt() -> None:
    """Importing the module loads no cryptography, making a vault does."""
    code = (
        "import sys\nfrom unhush.runtime.secrecy import Vault\nbefore = 'cryptography' in sys.modules\n"
        "Vault.new_key()\nprint(before, 'cryptography' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
