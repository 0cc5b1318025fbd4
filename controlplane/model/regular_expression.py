"""Regular expressions that Envoy takes: text comes in, what is wrong with it goes out.

Envoy compiles them by RE2, of which there is no parser here, and rejects everything that comes with
one it cannot compile: what is not surely its syntax is refused. Look-arounds and back references
are what RE2 lacks; quotes and scripts are what this does not look into. Characters are bytes to
Envoy. docs/protocol/http-route-config.md EH-3.
"""

import re
from functools import lru_cache
from typing import Final

_MOST_REPETITIONS: Final = 1000
_MOST_DEPTH: Final = 200
_MOST_INSTRUCTIONS: Final = 20_000
LONGEST: Final = 1024
"""Characters in an expression, at most."""

_CLASS_COST: Final = 40
_PROPERTY_COST: Final = 1500
_NON_ASCII_COST: Final = 8

_COUNT: Final = re.compile(r"\{(\d{1,6})(?:(,)(\d{0,6}))?\}")
_GROUP: Final = re.compile(
    r"\((?:\?(?:P?<([A-Za-z_][A-Za-z0-9_]*)>|([imsU]*(?:-[imsU]+)?)([:)])))?"
)
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<assertion>[bBAz])|(?P<perl>[dDsSwW])|(?P<property>[pP](?:[LMNPSZC]|"
    r"\{\^?(?:L|Lu|Ll|Lt|Lm|Lo|M|Mn|Mc|Me|N|Nd|Nl|No|P|Pc|Pd|Ps|Pe|Pi|Pf|Po|S|Sm|Sc|Sk|So"
    r"|Z|Zs|Zl|Zp|C|Cc|Cf)\}))|(?P<hexadecimal>x(?:[0-9A-Fa-f]{2}|\{[0-9A-Fa-f]{1,6}\}))"
    r"|(?P<control>[afnrtv])|(?P<literal>[!-/:-@\[-`{-~ ]))"
)
_LAST_BYTE: Final = 0xFF
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CONTROLS: Final = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_NAMED_CLASS: Final = re.compile(
    r"\[:\^?(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word"
    r"|xdigit):\]"
)


@lru_cache(maxsize=4096)
def expression_fault(text: str) -> str:
    """Return why Envoy might not take ``text``, "" when it surely does."""
    if not text or len(text) > LONGEST:
        return f"it has 1 to {LONGEST} characters"
    if _CONTROL.search(text):
        return "it has control characters"
    scanner = _Scanner(text)
    try:
        text.encode()  # Half a surrogate pair is no Unicode.
        scanner.everything()
    except UnicodeEncodeError:
        return "it is not Unicode"
    except ValueError as fault:
        return str(fault)
    return ""


class _Scanner:
    """Reads an expression once; counts the instructions it compiles to, at the most.

    Costs come with the largest product of counted repetitions inside, which RE2 bounds too.
    """

    def __init__(self, text: str) -> None:
        self._position = 0
        self._text = text
        self._names: set[str] = set()

    def everything(self) -> None:
        """Read the whole expression; raise ValueError with what is wrong with it."""
        instructions, _ = self._alternatives(depth=0)
        if self._position < len(self._text):
            raise self._fault("a group ends that has not begun")
        if instructions > _MOST_INSTRUCTIONS:
            raise ValueError("it is too large")

    def _fault(self, reason: str) -> ValueError:
        """Return the error for what is at the current position."""
        return ValueError(f"character {self._position + 1}: {reason}")

    def _alternatives(self, depth: int) -> tuple[int, int]:
        """Read to the end, or to the parenthesis that ends a group."""
        if depth > _MOST_DEPTH:
            raise self._fault("groups are nested too deeply")
        total, product = 1, 1
        while self._ahead not in ("", ")"):
            if self._ahead == "|":
                self._position += 1
                total += 2
                continue
            cost, inner = self._repeated(depth)
            total, product = total + cost, max(product, inner)
        return total, product

    @property
    def _ahead(self) -> str:
        return self._text[self._position : self._position + 1]

    @property
    def _is_at_repetition(self) -> bool:
        at = self._text, self._position
        return self._ahead in ("*", "+", "?") or _COUNT.match(*at) is not None

    def _repeated(self, depth: int) -> tuple[int, int]:
        """Read one thing and how often it may come."""
        if self._is_at_repetition:
            raise self._fault("there is nothing to repeat")
        cost, product = self._thing(depth)
        if self._ahead in ("*", "+", "?"):
            self._position += 1
            cost += 2
        elif counted := _COUNT.match(self._text, self._position):
            most = self._count(counted)
            cost, product = (cost + 1) * max(most, 1) + 2, product * max(most, 1)
        else:
            return cost, product
        if product > _MOST_REPETITIONS:
            raise self._fault(f"more than {_MOST_REPETITIONS} repetitions")
        if self._ahead == "?":
            self._position += 1
        if self._is_at_repetition:
            raise self._fault("a repetition is repeated")
        return cost, product

    def _count(self, counted: re.Match[str]) -> int:
        least = int(counted[1])
        most = int(counted[3]) if counted[3] else least
        if most < least or most > _MOST_REPETITIONS:
            raise self._fault(f"a repetition is 0 to {_MOST_REPETITIONS} times, in order")
        self._position = counted.end()
        return most

    def _thing(self, depth: int) -> tuple[int, int]:
        match self._ahead:
            case "(":
                return self._group(depth)
            case "[":
                return self._class(), 1
            case "\\":
                return self._escape()[0], 1
            case ".":
                self._position += 1
                return _CLASS_COST, 1
            case character:
                self._position += 1
                return (2 if character.isascii() else _NON_ASCII_COST), 1

    def _group(self, depth: int) -> tuple[int, int]:
        found = _GROUP.match(self._text, self._position)
        if found is None or (found[0] == "(" and self._text.startswith("(?", self._position)):
            raise self._fault("RE2 knows no such group")
        if found[3] == ")" and not found[2]:
            raise self._fault("flags are missing")
        name = found[1]
        if name in self._names:
            raise self._fault(f"two groups are named {name}")
        if name is not None:
            self._names.add(name)
        self._position = found.end()
        if found[3] == ")":  # Flags for what follows: nothing to repeat.
            if self._is_at_repetition:
                raise self._fault("there is nothing to repeat")
            return 0, 1
        cost, product = self._alternatives(depth + 1)
        if self._ahead != ")":
            raise self._fault("a group does not end")
        self._position += 1
        return cost + 2, product

    def _escape(self) -> tuple[int, int | None]:
        """Read an escape; return its cost, and the character it stands for if it is one."""
        found = _ESCAPE.match(self._text, self._position)
        if found is None:
            raise self._fault("an escape that is not known")
        self._position = found.end()
        match found.lastgroup:
            case "assertion":
                return 1, None
            case "perl":
                return _CLASS_COST, None
            case "property":
                return _PROPERTY_COST, None
            case "hexadecimal":
                code = int(found[0][2:].strip("{}"), 16)
                if code > _LAST_BYTE:
                    raise self._fault("characters are bytes: write it as it is")
                return _NON_ASCII_COST, code
            case "control":
                return 2, _CONTROLS[found[0][1]]
            case _:
                return 2, ord(found[0][1])

    def _class(self) -> int:
        """Read a set of characters in brackets."""
        self._position += 1
        if self._ahead == "^":
            self._position += 1
        cost, is_first = _CLASS_COST, True
        while is_first or self._ahead != "]":
            if self._ahead == "":
                raise self._fault("a set of characters does not end")
            if named := _NAMED_CLASS.match(self._text, self._position):
                self._position = named.end()
            else:
                cost += self._range(is_first=is_first)
            is_first = False
        self._position += 1
        return cost

    def _range(self, *, is_first: bool) -> int:
        if self._text.startswith("[:", self._position):
            raise self._fault("no such set of characters")
        begins_with_dash = self._ahead == "-"
        cost, first = self._member()
        following = self._text[self._position : self._position + 2]
        if begins_with_dash and not is_first and not following.startswith("]"):
            raise self._fault("a dash is first or last, or escaped")
        if first is None or not following.startswith("-") or following in ("-", "-]"):
            return cost
        self._position += 1
        more, last = self._member()
        if last is None or last < first:
            raise self._fault("a range that ends before it begins")
        return cost + more + _CLASS_COST

    def _member(self) -> tuple[int, int | None]:
        if self._ahead == "\\":
            cost, code = self._escape()
            if code is None and self._text[self._position - 2 : self._position] in (
                "\\b",
                "\\B",
                "\\A",
                "\\z",
            ):
                raise self._fault("a set holds characters, not places")
            return cost, code
        if self._ahead == "":
            raise self._fault("a set of characters does not end")
        code = ord(self._ahead)
        self._position += 1
        return 2 if code < 0x80 else _NON_ASCII_COST, code
