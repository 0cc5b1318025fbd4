"""How wide text comes out: text and a width in, text that fits in it out.

Nobody knows the reader's fonts. The widths are those of wide sans-serif fonts, so that what fits
here fits there.
"""

from typing import Final
from unicodedata import category, combining

_NARROW: Final = frozenset("iljtfrI.,:;|!'`()[]/\\-\" ")
_WIDE: Final = frozenset("mwMW@%")
_CUT: Final = "…"
_CUT_WIDTH: Final = 1.2


def width_of(text: str, size: float) -> float:
    """Return how wide ``text`` is at most, in the unit of its font ``size``."""
    return sum(map(_width, text)) * size


def fitted(text: str, width: float, size: float) -> str:
    """Return ``text``, or its two ends around an ellipsis, so that it is no wider than ``width``.

    Ends tell names apart better than beginnings: what is generated repeats its beginning.
    """
    if width_of(text, size) <= width:
        return text
    room = width / size - _CUT_WIDTH
    if room <= 0:
        return _CUT if width >= _CUT_WIDTH * size else ""
    head, tail = _ends(text, room)
    return f"{text[:head]}{_CUT}{text[tail:]}"


def _ends(text: str, room: float) -> tuple[int, int]:
    """Return where the beginning ends and the end begins; two fifths are for the end."""
    tail, used = len(text), 0.0
    while tail > 0 and used + _width(text[tail - 1]) <= room * 0.4:
        tail -= 1
        used += _width(text[tail])
    head = 0
    while head < tail and used + _width(text[head]) <= room:
        used += _width(text[head])
        head += 1
    return head, tail


def _width(character: str) -> float:
    if character in _NARROW:
        return 0.45
    if character in _WIDE:
        return 1.0
    if character.isascii():
        return 0.8 if character.isupper() else 0.65
    # What takes no room in one font is a box in another: only marks count as nothing.
    return 0.0 if combining(character) and category(character) == "Mn" else 1.2
