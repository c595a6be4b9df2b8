"""SSH signatures of approvals, made and checked by OpenSSH's `ssh-keygen -Y` (PROTOCOL.sshsig), without a network."""

from __future__ import annotations

import base64
import binascii
import os
import struct
import subprocess
import tempfile
from pathlib import Path

from .errors import Refused

PREFIX = "unhush-rollout-"  # of the namespace, which binds a signature to one role
PATIENCE = 120.0  # seconds; a key on a token waits for a finger
_MAGIC = b"SSHSIG"
_ARMOR = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----")


class BadSignature(Exception):
    """A signature that does not hold; the text says why in one line."""


def namespace(role: str) -> str:
    """The namespace in which a role signs; `namespaces="..."` in the list of signers binds a key to it."""
    return f"{PREFIX}{role}"


def sign(data: bytes, key: Path, role: str) -> str:
    """The armoured signature of the bytes by a private key, or by the agent's for a `.pub` file. Raises Refused."""
    if not key.is_file():
        raise Refused(f"--key: there is no file {str(key)!r}")
    done = _ssh_keygen("-Y", "sign", "-q", "-f", str(key), "-n", namespace(role), data=data)
    if done.returncode or not done.stdout.startswith(_ARMOR[0].encode()):
        raise Refused(f"--key: ssh-keygen can't sign with {str(key)!r}: {_first_line(done)}")
    return done.stdout.decode("ascii")


def check(data: bytes, signature: str, *, person: str, role: str, signers: Path, revoked: Path | None) -> None:
    """Checks that a person on the list of signers signed these bytes in that role, with a key that is valid now.

    `signers` has the form of ALLOWED SIGNERS in ssh-keygen(1), `revoked` lists public keys or is a KRL; a file that is
    named but not there counts as no list of revoked keys. Raises BadSignature.
    """
    if not signers.is_file():
        raise BadSignature(f"there is no list of signers {signers.name}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "signature")
        file.write_text(signature, encoding="utf-8")
        verify = ["-Y", "verify", "-f", str(signers), "-I", person, "-n", namespace(role), "-s", str(file)]
        done = _ssh_keygen(*verify, data=data)
        why = _first_line(done).replace(f"{signers}:", f"{signers.name}:") if done.returncode else ""
        if not why and revoked and revoked.is_file() and _ssh_keygen(*verify, "-r", str(revoked), data=data).returncode:
            why = f"its key is revoked by {revoked.name}"
    if why:
        raise BadSignature(f"the signature of {person} as {role} does not hold: {why}")


def persons(signature: str, signers: Path) -> list[str]:
    """Under which names the key of a signature stands on the list of signers; its namespaces are not asked."""
    key = public_key(signature)
    found = []
    for line in signers.read_text(encoding="utf-8").splitlines():
        if (listed := _listed(line)) and listed[1] == key:
            found += [name for name in listed[0].split(",") if name not in found]
    return found


def public_key(signature: str) -> bytes:
    """The public key that a signature names, as SSH writes it on the wire. Raises BadSignature."""
    lines = signature.strip().splitlines()
    try:
        if [lines[0], lines[-1]] != list(_ARMOR):
            raise BadSignature("that is no SSH signature")
        blob = base64.b64decode("".join(lines[1:-1]), validate=True)
        (length,) = struct.unpack_from(">I", blob, len(_MAGIC) + 4)
    except (IndexError, binascii.Error, struct.error) as error:
        raise BadSignature("that is no SSH signature") from error
    start = len(_MAGIC) + 8
    if not blob.startswith(_MAGIC) or len(blob) < start + length:
        raise BadSignature("that is no SSH signature")
    return blob[start : start + length]


def fingerprint(key: bytes) -> str:
    """A public key as ssh-keygen -l shows it: `SHA256:...`."""
    from hashlib import sha256

    return "SHA256:" + base64.b64encode(sha256(key).digest()).decode().rstrip("=")


def _listed(line: str) -> tuple[str, bytes] | None:
    """The names and the key of one line of the list; None for a comment, an empty line and one without a key."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    for word in words[1:]:
        if word.startswith("AAAA"):  # each key's blob begins with the length of its type
            try:
                return words[0].strip('"'), base64.b64decode(word, validate=True)
            except binascii.Error:
                return None
    return None


def _ssh_keygen(*arguments: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["ssh-keygen", *arguments], input=data, capture_output=True, timeout=PATIENCE, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise Refused("ssh-keygen is not installed: install OpenSSH's client to sign and check approvals") from error
    except subprocess.TimeoutExpired as error:
        raise Refused(f"ssh-keygen gave no answer within {PATIENCE:.0f} s") from error


def _first_line(done: subprocess.CompletedProcess[bytes]) -> str:
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    return said[0].strip() if said else f"ssh-keygen ended with {done.returncode}"
