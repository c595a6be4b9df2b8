"""SSH signatures: what holds, and each way in which one does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rollout.sshkeys import listed, make_key, public

from unhush.rollout.errors import Refused
from unhush.rollout.signing import BadSignature, check, fingerprint, persons, public_key, sign

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")

TEXT = b'{"plan_digest":"ab"}\n'


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path, "ann")


@pytest.fixture
def signers(tmp_path: Path, key: Path) -> Path:
    path = tmp_path / "allowed_signers"
    path.write_text("# who may approve\n\n" + listed("ann@x.org", key, "dev-lead"), encoding="utf-8")
    return path


def holds(signature: str, signers: Path, data: bytes = TEXT, **changed: object) -> None:
    check(
        data,
        signature,
        **{"person": "ann@x.org", "role": "dev-lead", "signers": signers, "revoked": None, **changed},  # type: ignore[arg-type]
    )


def test_a_listed_key_signs_its_role(key: Path, signers: Path) -> None:
    """A signature by a listed key in its role holds; of other bytes, another role or another person it does not."""
    signature = sign(TEXT, key, "dev-lead")
    holds(signature, signers)
    for wrong in ({"data": TEXT + b" "}, {"role": "operator"}, {"person": "bob@x.org"}):
        with pytest.raises(BadSignature):
            holds(signature, signers, **wrong)
    with pytest.raises(BadSignature):
        holds(sign(TEXT, key, "operator"), signers, role="operator")


def test_keys_that_do_not_count(tmp_path: Path, key: Path, signers: Path) -> None:
    """An unknown, an expired and a revoked key sign nothing that holds, and a list that is not there holds nothing."""
    signature = sign(TEXT, key, "dev-lead")
    with pytest.raises(BadSignature, match="does not hold"):
        holds(sign(TEXT, make_key(tmp_path, "stranger"), "dev-lead"), signers)
    revoked = tmp_path / "revoked_keys"
    holds(signature, signers, revoked=revoked)
    revoked.write_text(public(key).read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(BadSignature, match="revoked"):
        holds(signature, signers, revoked=revoked)
    signers.write_text(listed("ann@x.org", key, valid_before="20200101"), encoding="utf-8")
    with pytest.raises(BadSignature, match="expired"):
        holds(signature, signers)
    with pytest.raises(BadSignature, match="no list of signers"):
        holds(signature, tmp_path / "nobody")


def test_whose_key_it_is(tmp_path: Path, key: Path, signers: Path) -> None:
    """The list says under which names the key of a signature stands: none, one or several."""
    signature = sign(TEXT, key, "dev-lead")
    assert persons(signature, signers) == ["ann@x.org"]
    assert persons(sign(TEXT, make_key(tmp_path, "bob"), "dev-lead"), signers) == []
    with signers.open("a", encoding="utf-8") as file:
        file.write(listed("annie@x.org", key))
    assert persons(signature, signers) == ["ann@x.org", "annie@x.org"]


def test_public_key_is_that_of_ssh_keygen(key: Path) -> None:
    """The key that is read from a signature is the one in the `.pub` file, and text that is no signature has none."""
    import base64

    blob = base64.b64decode(public(key).read_text(encoding="utf-8").split()[1])
    assert public_key(sign(TEXT, key, "dev-lead")) == blob
    assert fingerprint(blob).startswith("SHA256:")
    for text in ("", "x", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----", "\n\n"):
        with pytest.raises(BadSignature):
            public_key(text)


def test_signing_is_refused_in_one_line(tmp_path: Path) -> None:
    """A key that is not there and a file that is no key are refused by name."""
    (tmp_path / "text").write_text("no key", encoding="utf-8")
    for name in ("gone", "text"):
        with pytest.raises(Refused, match=name) as refused:
            sign(TEXT, tmp_path / name, "dev-lead")
        assert "\n" not in refused.value.message
