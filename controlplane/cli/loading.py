"""Commands that are imported when they are called: most need libraries that others do not.

Whoever looks at the status of a mesh at night should not wait for a server to be imported.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup


class Place(NamedTuple):
    """Where a command is: a function, or a Typer of several; an alias is not listed."""

    module: str
    attribute: str
    is_alias: bool = False


class LoadingGroup(TyperGroup):
    """A group whose commands are at ``places``; those that are registered come behind."""

    places: ClassVar[dict[str, Place]] = {}

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.commands = Commands(self.places, dict(self.commands))


class Commands(MutableMapping[str, Any]):
    """Commands by name, each imported when it is looked up."""

    def __init__(self, places: dict[str, Place], loaded: dict[str, Any]) -> None:
        self._places = places
        self._loaded = loaded

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self._places[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._places
        yield from (name for name in self._loaded if name not in self._places)

    def __len__(self) -> int:
        return len(self._places.keys() | self._loaded.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self._loaded


def _load(name: str, place: Place) -> Any:
    found = getattr(import_module(place.module), place.attribute)
    holder = typer.Typer(add_completion=False)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name, hidden=place.is_alias)
    else:
        holder.command(name, hidden=place.is_alias)(found)
    # A second command makes the holder a group whose first is what was asked for.
    holder.command("-", hidden=True)(_nothing)
    group: Any = typer.main.get_command(holder)
    return group.commands[name]


def _nothing() -> None:
    """Do nothing."""
