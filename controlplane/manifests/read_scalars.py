"""Plain YAML scalars -> the JSON value that Kubernetes' own tools make of them.

Kubernetes converts YAML 1.1 to JSON before anything reads it, so ``on`` is a boolean, ``010`` is
eight and a date stays text. Only ``y`` and ``n`` stay text, where tools disagree: text is refused
wherever a boolean is wanted, so nothing is misread. Quoted scalars never come here
(docs/protocol/manifests.md MF-5).
"""

import math
import re
from typing import Final

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NUMBER_STARTS: Final = frozenset("+-.0123456789")
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0[0-7_]+|0o[0-7_]+|0b[01_]+|0x[0-9a-fA-F_]+)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = frozenset(
    sign + word
    for sign in ("", "+", "-")
    for word in (".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN")
)
_LONGEST_NUMBER: Final = 64

type_names: Final = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
"""How messages name the JSON types."""


def resolve(text: str) -> str | int | float | bool | None:
    """Return what the unquoted scalar ``text`` means.

    Numbers longer than 64 characters stay text; ``.inf`` and ``.nan`` come out as floats that
    JSON cannot carry, which the caller refuses.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS or len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text in _NOT_FINITE:
        return math.nan if "n" in text[-3:].lower()[::2] else math.inf
    return text


def _integer(text: str) -> int | str:
    digits = text.replace("_", "")
    unsigned = digits.lstrip("+-")
    try:
        if len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1].isdigit():
            return int(digits, 8)
        return int(digits, 0)
    except ValueError:
        return text
