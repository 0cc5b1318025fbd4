"""Whether Envoy takes a regular expression: the text comes in, what is wrong with it goes out.

Envoy's engine is RE2, of which there is no parser here: what it surely takes is read, the rest is
refused with its reason. docs/protocol/http-routes.md HR-13.
"""

import re
import warnings
from dataclasses import dataclass, field
from typing import Final, NamedTuple

LONGEST: Final = 1024
"""Characters in an expression, at most."""

_MOST_REPEATED: Final = 1000
_LARGEST_PROGRAM: Final = 20_000
_DEEPEST: Final = 50
_PLAIN_COST: Final = 2
_SET_COST: Final = 16
_PROPERTY_COST: Final = 2_000

_SETS: Final = frozenset("dDwWsS")
_CONTROLS: Final = frozenset("nrtfva")
_PLACES: Final = frozenset("bBAz")
_CATEGORIES: Final = frozenset([
    "C", "Cc", "Cf", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd",
    "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z",
    "Zl", "Zp", "Zs", "Arabic", "Cyrillic", "Devanagari", "Greek", "Han", "Hangul", "Hebrew",
    "Latin", "Thai",
])  # fmt: skip
_POSIX: Final = frozenset([
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
])  # fmt: skip
_CLASS_NAME: Final = re.compile(r"\[:\^?([a-z]+):\]")
_PROPERTY: Final = re.compile(r"\\[pP](?:\{\^?([A-Za-z]+)\}|([A-Z]))")
_CODE: Final = re.compile(r"\\x(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2}))")
_GROUP: Final = re.compile(r"\((?:\?(?:P<[A-Za-z_]\w*>|[imsU]*(?:-[imsU]+)?:))?(?!\?)", re.ASCII)
_FLAGS: Final = re.compile(r"\(\?[imsU]+(?:-[imsU]+)?\)|\(\?-[imsU]+\)")
_COUNT: Final = re.compile(r"\{([0-9]+)(?:(,)([0-9]+)?)?\}")
_LAST_CODE: Final = 0x10FFFF


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """What is wrong with the expression."""


class _Atom(NamedTuple):
    """Something that may be repeated: what it costs, and how often its inside is repeated."""

    cost: int = _PLAIN_COST
    repeated: int = 1


@dataclass(slots=True)
class _Scan:
    """Reads one expression; ``plain`` becomes an equally nested one in Python's dialect."""

    text: str
    at: int = 0
    plain: list[str] = field(default_factory=list)
    levels: list[list[_Atom]] = field(default_factory=lambda: [[]])
    may_repeat: bool = False

    def run(self) -> None:
        while self.at < len(self.text):
            self._step(self.text[self.at])
        if sum(atom.cost for atom in self.levels[0]) > _LARGEST_PROGRAM:
            raise _Refused("it is too large")

    def _step(self, character: str) -> None:
        match character:
            case "\\":
                self._take(self._escape(), "a")
            case "[":
                self._set()
            case "(":
                self._open()
            case ")":
                self._close()
            case "*" | "+" | "?":
                self._repeat(1, character)
            case "{" if counted := _COUNT.match(self.text, self.at):
                self._counted(counted)
            case "|" | "^" | "$":
                self._write(character)
            case ".":
                self._take(_Atom(_SET_COST), ".")
                self.at += 1
            case _:
                self._take(_Atom(), "a")
                self.at += 1

    def _take(self, atom: _Atom, plain: str) -> None:
        self.levels[-1].append(atom)
        self.plain.append(plain)
        self.may_repeat = True

    def _write(self, plain: str, length: int = 1) -> None:
        self.plain.append(plain)
        self.at += length
        self.may_repeat = False

    def _open(self) -> None:
        if flags := _FLAGS.match(self.text, self.at):
            self._write("(?:)", len(flags[0]))
            return
        group = _GROUP.match(self.text, self.at)
        if group is None:
            raise _Refused("groups are (...), (?:...) or (?P<name>...), nothing looks around")
        if len(self.levels) > _DEEPEST:
            raise _Refused("it is nested too deeply")
        self.levels.append([])
        named = group[0].startswith("(?P")
        self._write(group[0] if named else "(?:", len(group[0]))

    def _close(self) -> None:
        if len(self.levels) == 1:
            raise _Refused("a parenthesis was never opened")
        inside = self.levels.pop()
        self.at += 1
        cost = sum(atom.cost for atom in inside) + _PLAIN_COST
        self._take(_Atom(cost, max((atom.repeated for atom in inside), default=1)), ")")

    def _counted(self, counted: re.Match[str]) -> None:
        least = int(counted[1])
        most = int(counted[3]) if counted[3] else least
        if most < least or most > _MOST_REPEATED:
            raise _Refused(f"{counted[0]} repeats never, or more than {_MOST_REPEATED} times")
        self._repeat(most, counted[0])

    def _repeat(self, times: int, operator: str) -> None:
        if not self.may_repeat:
            raise _Refused(f"there is nothing that {operator} could repeat")
        atom = self.levels[-1].pop()
        repeated = atom.repeated * max(times, 1)
        if repeated > _MOST_REPEATED:
            raise _Refused(f"it repeats more than {_MOST_REPEATED} times")
        self.levels[-1].append(_Atom(atom.cost * max(times, 1) + _PLAIN_COST, repeated))
        self._write(operator, len(operator))
        if self.text.startswith("?", self.at):
            self._write("?")

    def _escape(self) -> _Atom:
        """Return what an escape sequence outside a set stands for."""
        following = self.text[self.at + 1 : self.at + 2]
        if following and following in _PLACES:
            self.at += 2
            return _Atom()
        return self._escaped_character()[0]

    def _escaped_character(self) -> tuple[_Atom, str]:
        """Return what an escape sequence stands for, and how Python may write it in a set."""
        following = self.text[self.at + 1 : self.at + 2]
        if found := _PROPERTY.match(self.text, self.at):
            if (found[1] or found[2]) not in _CATEGORIES:
                raise _Refused(f"{found[0]} is no property")
            self.at += len(found[0])
            return _Atom(_PROPERTY_COST), r"\d"
        if found := _CODE.match(self.text, self.at):
            code = int(found[1] or found[2], 16)
            if code > _LAST_CODE:
                raise _Refused(f"{found[0]} is no character")
            self.at += len(found[0])
            return _Atom(), f"\\U{code:08x}"
        if following in _SETS and following:
            self.at += 2
            return _Atom(_SET_COST), r"\d"
        is_punctuation = following.isascii() and following.isprintable() and not following.isalnum()
        if not following or not (following in _CONTROLS or (is_punctuation and following != "_")):
            raise _Refused(f"\\{following} means nothing, or is a reference to what was matched")
        self.at += 2
        return _Atom(), f"\\{following}"

    def _set(self) -> None:
        plain = ["["]
        self.at += 1
        if self.text.startswith("^", self.at):
            plain.append("^")
            self.at += 1
        cost, is_first = _SET_COST, True
        while is_first or not self.text.startswith("]", self.at):
            if self.at >= len(self.text):
                raise _Refused("a [ is never closed")
            character = self.text[self.at]
            if named := _CLASS_NAME.match(self.text, self.at):
                if named[1] not in _POSIX:
                    raise _Refused(f"{named[0]} is no class of characters")
                self.at += len(named[0])
                plain.append(r"\d")
            elif character == "\\":
                atom, written = self._escaped_character()
                cost += atom.cost
                plain.append(written)
            else:
                self.at += 1
                cost += _PLAIN_COST
                plain.append(character if character == "-" else re.escape(character))
            is_first = False
        self.at += 1
        self._take(_Atom(cost), "".join([*plain, "]"]))


def expression_fault(text: str) -> str:
    """Return why Envoy would not take ``text`` as a regular expression, "" when it does."""
    if len(text) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    if any(ord(character) < ord(" ") or character == "\x7f" for character in text):
        return "it has control characters"
    scan = _Scan(text)
    try:
        text.encode()
        scan.run()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile("".join(scan.plain))
    except _Refused as refused:
        return str(refused)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    except UnicodeEncodeError:
        return "it is not Unicode"
    return ""
