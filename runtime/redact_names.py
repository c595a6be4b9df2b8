"""Which names mean a secret: those of keys, headers, options and variables. Needs nothing but the standard library."""

from __future__ import annotations

import re
from functools import lru_cache

PASSWORD, SECRET, COOKIE, HEADER = "password", "secret", "cookie", "authorization"
_NAME_LIMIT = 100  # characters; longer texts are no names
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")

_PASSWORDS = frozenset("password passwd pwd passphrase passcode passwort kennwort cvv cvc otp totp".split())
_PASSWORD_ENDINGS = ("password", "passwords", "passwd", "passphrase")
_SECRETS = frozenset(
    "secret secrets jwt bearer csrf xsrf credential credentials creds apikey apikeys authtoken accesstoken refreshtoken "
    "sessionid sessid phpsessid jsessionid sessionkey sessiontoken privatekey secretkey accesskey clientsecret "
    "appsecret".split()
)
# What makes a key, an id or a code a secret, as its last two words.
_PAIRS = frozenset(
    "api key|access key|secret key|private key|encryption key|signing key|master key|hmac key|auth key|shared key|"
    "fernet key|subscription key|application key|app key|account key|session key|session id|secret id|security code|"
    "auth code|authorization code|mfa code|saml response|basic auth|deploy key".split("|")
)
_PAIRS_OF_MANY = frozenset(f"{pair}s" for pair in _PAIRS if pair.endswith("key"))
# Tokens in the plural are mostly those of texts.
_BEFORE_TOKENS = frozenset("access api auth refresh bearer id session security".split())
_BEFORE_PASS = frozenset(
    "user db database smtp ftp admin root mail email http proxy redis mysql mariadb pg postgres login auth".split()
)
# A name that begins so says something about a secret, or means another kind of token.
_HARMLESS_STARTS = frozenset(
    "has is no use uses using with without need needs require requires required show hide allow accept enable disable max "
    "min num total count n invalid expired bad missing unexpected unknown illegal wrong".split()
)
_OTHER_TOKENS = frozenset(
    "next page continuation pagination cursor sync stop eos bos pad unk mask sep cls special start end idempotency dedup "
    "deduplication fencing per invalid expired bad missing unexpected unknown illegal request".split()
)
# What may follow the secret's own name; after any other word it is the name of something else (password_reset_url).
_NEUTRAL_ENDS = frozenset(
    "value hash hashed text plain plaintext cleartext encrypted enc raw string str base new old current confirm "
    "confirmation again repeat prod production dev test staging live env b".split()
)


@lru_cache(maxsize=8192)
def secret_kind(name: str) -> str:
    """What kind of secret a value under this name is: one of the constants above, or "" for none."""
    if len(name) > _NAME_LIMIT:
        return ""
    words = [word.lower() for word in _WORD.findall(name)]
    while len(words) > 1 and (words[-1] in _NEUTRAL_ENDS or words[-1].isdigit()):
        words.pop()
    if not words or words[0] in _HARMLESS_STARTS:
        return ""
    last, pair = words[-1], " ".join(words[-2:])
    before = words[-2] if len(words) > 1 else ""
    if last in _PASSWORDS or last.endswith(_PASSWORD_ENDINGS) or (last == "pass" and before in {"", *_BEFORE_PASS}):
        return PASSWORD if before not in _HARMLESS_STARTS else ""
    if last in _SECRETS or pair in _PAIRS or pair in _PAIRS_OF_MANY:
        return SECRET
    if last == "token":
        return SECRET if before not in _OTHER_TOKENS else ""
    if last == "tokens":
        return SECRET if before in _BEFORE_TOKENS else ""
    if last == "authorization" or pair == "authorization header":
        return HEADER
    return COOKIE if last in ("cookie", "cookies") or pair == "cookie header" else ""


_IDS = frozenset(
    "id ids uid uids uuid guid ref refs reference sku isbn ean upc gtin imei barcode serial order invoice tracking "
    "timestamp ts".split()
)


@lru_cache(maxsize=8192)
def is_id_name(name: str) -> bool:
    """Whether a row of digits under this name is an id, and so no card's number."""
    words = [word.lower() for word in _WORD.findall(name[:_NAME_LIMIT])]
    while len(words) > 1 and words[-1] in ("no", "nr", "number", "numbers", "code"):
        words.pop()
    return bool(words) and words[-1] in _IDS
