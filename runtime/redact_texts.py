"""Secrets inside texts: what they look like, and their masking. Needs nothing but the standard library.

Every pattern reads a character a bounded number of times: runs are possessive, or can't begin inside one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters, ascii_uppercase, digits

from .redact_names import COOKIE, HEADER, PASSWORD, secret_kind

MASK = "[redacted]"
_SHORTEST = 5  # `pwd=x`

# -- values that are known by themselves ------------------------------------------------------------------------------

# Where its literal beginning stands, and what follows it. Ends with `=` what is a parameter's name, and stays.
_VENDORS: tuple[tuple[str, str], ...] = (
    # AWS: the id of an access key, with its secret where that stands beside it
    *(
        (prefix, r"[A-Z0-9]{16}(?![A-Za-z0-9])(?:[^A-Za-z0-9/+\n]{1,8}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=]))?")
        for prefix in ("AKIA", "ASIA")
    ),
    ("AIza", r"[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),  # Google
    ("ya29.", r"[0-9A-Za-z_-]{20,}+(?:\.[0-9A-Za-z_-]++)*+"),
    ("GOCSPX-", r"[0-9A-Za-z_-]{20,}+"),
    ("sig=", r"[0-9A-Za-z%+/_-]{30,}+=*+"),  # shared access signature of Azure
    ("X-Amz-Signature=", r"[0-9a-fA-F]{32,}+"),
    ("X-Amz-Security-Token=", r"[0-9A-Za-z%+/_.-]{16,}+=*+"),
    ("X-Goog-Signature=", r"[0-9a-fA-F]{32,}+"),
    *((f"gh{letter}_", r"[A-Za-z0-9]{36,}+") for letter in "pousr"),  # GitHub
    ("github_pat_", r"[A-Za-z0-9_]{22,}+"),
    ("glpat-", r"[A-Za-z0-9_.-]{20,}+"),  # GitLab
    *(
        (f"gl{kind}-", r"[A-Za-z0-9_.-]{20,}+")
        for kind in ("dt", "rt", "cbt", "ptt", "ft", "soat", "agent", "imt", "oas")
    ),
    *((f"xox{letter}-", r"[A-Za-z0-9-]{10,}+") for letter in "abeoprs"),  # Slack
    ("xapp-", r"[A-Za-z0-9-]{20,}+"),
    ("hooks.slack.com/services/", r"[A-Za-z0-9/]{20,}+"),
    *((f"{kind}_{mode}_", r"[A-Za-z0-9]{16,}+") for kind in ("sk", "rk") for mode in ("live", "test")),  # Stripe
    ("whsec_", r"[A-Za-z0-9+/=]{24,}+"),
    ("unhush_", r"[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
    ("npm_", r"[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    ("pypi-", r"AgE[A-Za-z0-9_-]{50,}+"),
    ("sk-", r"(?=[A-Za-z0-9_-]{0,64}[0-9])(?=[A-Za-z0-9_-]{0,64}[A-Z])[A-Za-z0-9_-]{32,}+"),  # OpenAI, Anthropic
    ("SK", r"[0-9a-f]{32}(?![A-Za-z0-9])"),  # Twilio
    ("SG.", r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}(?![A-Za-z0-9_-])"),  # SendGrid
    ("hf_", r"[A-Za-z]{34}(?![A-Za-z0-9])"),
    ("dop_v1_", r"[0-9a-f]{64}"),
    ("dckr_pat_", r"[A-Za-z0-9_-]{20,}+"),
    ("dapi", r"[0-9a-f]{32}(?![0-9a-f])"),
    *((f"shp{kind}_", r"[0-9a-fA-F]{32}") for kind in ("at", "ca", "pa", "ss")),
    ("hvs.", r"[A-Za-z0-9_-]{24,}+"),
    ("AGE-SECRET-KEY-1", r"[0-9A-Z]{58}"),
    ("eyJ", r"[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+){1,3}"),  # JWT, JWE
)
_VENDOR_PATTERNS = [
    # The literal comes first, so that the engine can leap to it.
    (prefix, re.compile(rf"({re.escape(prefix)})(?<![A-Za-z0-9_]{re.escape(prefix)}){rest}"))
    for prefix, rest in _VENDORS
]
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BLOCK_END = re.compile(r"-----END(?: [A-Z0-9 ]{0,50}-----)?")
_URL_LOGIN = re.compile(r"""(?<=://)[^\s/?#:@"'<>]*+:([^\s/?#"'<>]+)@""")
_SCHEME = re.compile(r"(?i)(?<![\w-])(bearer|basic)([ \t]{1,4})([A-Za-z0-9._~+/-]{8,}+=*+)")
_MIXED = re.compile(r"[0-9=]|[a-z][A-Z]")


def _mask_vendors(text: str) -> str:
    for prefix, pattern in _VENDOR_PATTERNS:
        if prefix in text:
            keep = r"\1" if prefix.endswith("=") else ""
            text = pattern.sub(keep + MASK, text)
    return text


def _mask_key_blocks(text: str) -> str:
    """Whole blocks of private keys; one without an end was cut off, and is a secret to the end of the text."""
    pieces: list[str] = []
    done = 0
    while begin := _KEY_BLOCK.search(text, done):
        end = _KEY_BLOCK_END.search(text, begin.end())
        pieces += text[done : begin.start()], MASK
        done = end.end() if end else len(text)
    return "".join([*pieces, text[done:]])


def _mask_login(match: re.Match[str]) -> str:
    return match[0] if _PLACEHOLDER.fullmatch(match[1]) else f"{MASK}@"


def _mask_scheme(match: re.Match[str]) -> str:
    # "Bearer authentication" is prose.
    return f"{match[1]}{match[2]}{MASK}" if _MIXED.search(match[3]) else match[0]


# -- values that are known by a name before them ----------------------------------------------------------------------

# What every name of a secret has in it.
_HINT = re.compile(
    "pass|pwd|secret|token|key|auth|cookie|cred|sess|jwt|bearer|otp|cv[vc]|[cx]srf|kennwort|saml|mfa|security"
)
_LOWER = {ord(letter): ord(letter.lower()) for letter in ascii_uppercase}
_NAME_LETTERS = frozenset(ascii_letters + digits + "_.-")
_NAME_REST = re.compile(r"[A-Za-z0-9_.-]*+")
_NAME_LIMIT = 100  # characters; longer rows of letters are no names
# A name with what separates it from its value: `name=`, `"name": `, `(name)=(`, `name => [`; `<name>`; or `--name `.
_NAME = re.compile(
    r"""([.-]++)?([A-Za-z0-9_][A-Za-z0-9_.-]*+)"""
    r"""(?:\\*+["'`]?[\])]{0,2}[ \t]{0,8}(?::=|=>|=(?!=)|:(?!:|//))[ \t]{0,8}(?:(?!\[redacted\])[\[(]){0,2}"""
    r"""|(>)|([ \t]{1,4})(?=[^\s=:]))"""
)
_QUOTE = re.compile(r"""([bBrRuUfF]{0,2})(\\*+)(["'`])""")
_AFTER_QUOTE = re.compile(r"[ \t]*(?:[+)\],;%}.]|\Z)")
_ANY_QUOTE = re.compile(r"""\\[\s\S]|["']""")  # escaped characters are taken along, so that they end no string
_QUOTE_ENDS = {quote: re.compile(rf"(?<!\\)(\\*+)([{quote}\r\n])") for quote in "\"'`"}
_BARE = re.compile(r"""[^\s"'<>,;&|)}\\]++""")
_NO_VALUE = re.compile(r"[-\[]|[A-Z_]+\]?\Z")  # after an option: the next one, or a usage text
_CALL = re.compile(r"[A-Za-z_][\w.]*+(?:\(|\[(?!redacted\]))")  # source code, which a payload may hold
_MARKUP = re.compile(r"[^<]++")
_COOKIES = re.compile(r"""[^\s=;,:"'\\]++=[^\r\n"'\\]*+""")
_SCHEME_BEFORE = re.compile(r"(?i)(?:bearer|basic|token|apikey|negotiate|bot)[ \t]++")
_MANY_WORDS = re.compile(r"(?i)(?:digest|aws4|signature|hawk)[^\r\n'\\]++")
_OWN_SCHEME = re.compile(r"""[A-Za-z][\w-]*+[ \t]{1,4}(?=[^\s"',\\]*[0-9=])[^\s"',\\]++""")
# Said in place of a value.
_PLACEHOLDER = re.compile(
    r"(?i)none|null|nil|undefined|true|false|str|int|bytes|bool|any|string|optional|\*+|x{3,}|\.+|-+|"
    r"\[(?:redacted|filtered|masked|hidden)\]|<[\w -]+>|%s|%\(\w+\)s|\$\{?[\w.:-]*\}?|\{\{?[\w. -]*\}{0,2}"
)
# The source lines of a traceback: they hold code, in which only literals are secrets. They stand deeper than their
# file's line, in the margin of an exception group too; the exception's own line does not, and is no code.
_CODE = re.compile(r"""^([ |+]*+)File "[^"\n]*+", line [0-9]++[^\n]*+\n((?:\1[ ]{2}[^\n]*+\n?)*+)""", re.MULTILINE)


def _mask_named(text: str) -> str:
    code: list[tuple[int, int]] | None = None
    pieces: list[str] = []
    done = 0
    for match in _names(text):
        kind = secret_kind(match[2])
        if not kind or match.end() < done:
            continue
        code = _code_spans(text) if code is None else code
        span = _value_span(
            text, match, kind, in_code=_inside(code, match.start()) and not _in_literal(text, match.start())
        )
        if span is not None and span[0] >= done and not is_folder(match[2], text[span[0]]):
            pieces += text[done : span[0]], MASK
            done = span[1]
    return "".join([*pieces, text[done:]]) if pieces else text


def _names(text: str) -> Iterator[re.Match[str]]:
    """Each name that may be a secret's, with what separates it from its value."""
    lowered = text.lower()
    if len(lowered) != len(text):  # some letters grow
        lowered = text.translate(_LOWER)
    at = 0
    while hint := _HINT.search(lowered, at):
        start, end = hint.start(), _end(_NAME_REST.match(text, hint.end()))
        while start > at and hint.start() - start < _NAME_LIMIT and text[start - 1] in _NAME_LETTERS:
            start -= 1
        at = end
        match = _NAME.match(text, start) if end - start <= _NAME_LIMIT else None
        if match and (not match[3] or text[start - 1 : start] == "<") and (not match[4] or match[1] == "--"):
            yield match


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0


def _value_span(text: str, match: re.Match[str], kind: str, *, in_code: bool) -> tuple[int, int] | None:
    """From where to where the secret goes; None where nothing secret follows."""
    at = match.end()
    if match[3]:
        return _unless_plain(text, _MARKUP.match(text, at), kind)
    quote = _QUOTE.match(text, at)
    if quote:
        if in_code and "f" in quote[1].lower():
            return None
        return _quoted_span(text, quote, kind)
    if in_code:
        return None
    if kind == HEADER:
        return _authorization_span(text, at)
    if kind == COOKIE:
        return _span(_COOKIES.match(text, at))
    if text.startswith("{", at) or _CALL.match(text, at):
        return None
    bare = _BARE.match(text, at)
    if bare and match[4] and _NO_VALUE.match(bare[0]):
        return None
    return _unless_plain(text, bare, kind)


def _span(match: re.Match[str] | None) -> tuple[int, int] | None:
    return match.span() if match else None


def _unless_plain(text: str, value: re.Match[str] | None, kind: str) -> tuple[int, int] | None:
    if value is None or is_placeholder(value[0]):
        return None
    if kind != PASSWORD and value[0].isdigit() and len(value[0]) < 6:
        return None  # a count or a position
    return value.span()


def _quoted_span(text: str, quote: re.Match[str], kind: str) -> tuple[int, int] | None:
    """What stands between the quotes, which may themselves be escaped; up to the line's end where they do not close."""
    depth, mark, start = len(quote[2]), quote[3], quote.end()
    if text.startswith(mark * 2, start):
        start += 2
        end = text.find(mark * 3, start)
        end = len(text) if end < 0 else end
    else:
        end, closed = _quote_end(text, start, mark, depth)
        if not closed and depth == 0 and _AFTER_QUOTE.match(text, start):
            return None  # the quote was itself a closing one: "token=" + token
    value = text[start:end]
    no_cookies = kind == COOKIE and "=" not in value and MASK not in value
    return None if is_placeholder(value) or no_cookies else (start, end)


def _quote_end(text: str, start: int, mark: str, depth: int) -> tuple[int, bool]:
    """Where the text within quotes ends, each of which has `depth` backslashes before it, and whether they close."""
    for close in _QUOTE_ENDS[mark].finditer(text, start):
        slashes = len(close[1])
        if close[2] != mark:  # the line ends, as in a text that was cut off
            return close.start(), False
        if slashes == depth or (depth == 0 and slashes % 2 == 0):
            return close.end() - 1 - depth, True
    return len(text), False


def _authorization_span(text: str, at: int) -> tuple[int, int] | None:
    if many := _MANY_WORDS.match(text, at):
        return many.span()
    if scheme := _SCHEME_BEFORE.match(text, at):
        return _unless_plain(text, _BARE.match(text, scheme.end()), HEADER)
    return _unless_plain(text, _OWN_SCHEME.match(text, at) or _BARE.match(text, at), HEADER)


def _code_spans(text: str) -> list[tuple[int, int]]:
    """Where source lines stand, the first ones last."""
    if 'File "' not in text:
        return []
    return [match.span(2) for match in _CODE.finditer(text)][::-1]


def _inside(spans: list[tuple[int, int]], at: int) -> bool:
    """Whether a place lies in one of the spans. Places come in order: spans behind the place are dropped."""
    while spans and spans[-1][1] <= at:
        spans.pop()
    return bool(spans) and spans[-1][0] <= at


def _in_literal(text: str, at: int) -> bool:
    """Whether a place in a source line lies within a string that opened on that line, not too far before."""
    open_quote = ""
    for mark in _ANY_QUOTE.findall(text, max(text.rfind("\n", 0, at) + 1, at - 500), at):
        if mark == open_quote:
            open_quote = ""
        elif not open_quote and len(mark) == 1:
            open_quote = mark
    return bool(open_quote)


# -- card numbers -----------------------------------------------------------------------------------------------------

_CARD = re.compile(
    r"(?<!\w)(?<!\w[.-])(?:[0-9]{15,16}|(?<![0-9] )"
    r"(?:[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{4}([ -])[0-9]{6}\2[0-9]{5})(?! [0-9]))(?!\w|[.-]\w)"
)
# American Express has 15 digits; Visa, Mastercard, Discover, JCB and UnionPay have 16.
_ISSUER = re.compile(
    r"3[47][0-9]{13}|(?=[0-9]{16}\Z)"
    r"(?:4|5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|6011|65|64[4-9]|35(?:2[89]|[3-8])|62)[0-9]+"
)
_ID_BEFORE = re.compile(
    r"""(?:(?<![A-Za-z])(?i:ids?|no|nr|number|ref|uid)|Ids?|ID)["']?[ \t]{0,3}[=:#]?[ \t]{0,3}["']?\Z"""
)
_CARD_BEFORE = re.compile(r"(?i)card|pan")


def is_card_number(number: str) -> bool:
    """Whether 15 or 16 digits are those of a payment card: an issuer's prefix and a right Luhn sum."""
    if not _ISSUER.fullmatch(number):
        return False
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(number))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _mask_card(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 24) : match.start()]
    named_id = _ID_BEFORE.search(before) and not _CARD_BEFORE.search(before)
    return match[0] if named_id or not is_card_number(re.sub("[ -]", "", match[0])) else MASK


# -- all of it --------------------------------------------------------------------------------------------------------

_DIGITS = re.compile("[0-9]{4}")
_SCHEME_WORDS = ("earer", "EARER", "asic ", "ASIC ")
_LOOKS = 10  # at most; two nearly always do


def is_placeholder(text: str) -> bool:
    """Whether a text stands in a secret's place and is none: blank, a mask, a template's variable."""
    return not text.strip() or (len(text) < 200 and _PLACEHOLDER.fullmatch(text) is not None)


def is_folder(name: str, text: str) -> bool:
    """Whether a value under `PWD` is the shell's working directory, not a password."""
    return name[-3:].lower() == "pwd" and text.startswith(("/", "~"))


def mask_text(text: str, *, cards: bool = True) -> str:
    """The text with each secret in it masked; the very same text where there is none."""
    if len(text) < _SHORTEST:
        return text
    for _ in range(_LOOKS):  # a mask may bring to light what stood hidden behind a secret
        masked = _mask_once(text, cards=cards)
        if masked == text:
            break
        text = masked
    return text


def _mask_once(text: str, *, cards: bool) -> str:
    if "PRIVATE KEY" in text:
        text = _mask_key_blocks(text)
    if "://" in text:
        text = _URL_LOGIN.sub(_mask_login, text)
    if len(text) >= 16:
        text = _mask_vendors(text)
    text = _mask_named(text)
    if any(word in text for word in _SCHEME_WORDS):
        text = _SCHEME.sub(_mask_scheme, text)
    if cards and len(text) >= 15 and _DIGITS.search(text):
        text = _CARD.sub(_mask_card, text)
    return text
