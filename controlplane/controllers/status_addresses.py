"""``status.addresses`` of a ServiceEntry: a live object in, what it has or a patch of it out.

Pure; ``address_allocation`` sends the patch (docs/protocol/address-allocation.md AL-9).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controlplane.controllers.address_book import Addresses
from controlplane.manifests.istio import AllocatedAddress

_PATH: Final = "/status/addresses"


class _Given(msgspec.Struct):
    value: str | None = None
    host: str | None = None


class _Status(msgspec.Struct):
    addresses: list[_Given | None] | None = None


class EntryMetadata(msgspec.Struct, gc=False):
    """Which ServiceEntry it is."""

    name: str
    namespace: str = ""


class StatusAddresses(msgspec.Struct):
    """A ServiceEntry, as much of it as tells what was allocated."""

    metadata: EntryMetadata
    status: _Status | None = None

    @property
    def addresses(self) -> Addresses:
        """Return what is in the status, as manifests are read."""
        given = (self.status.addresses if self.status else None) or ()
        return tuple(
            AllocatedAddress(each.value or "", each.host or "")
            for each in given
            if each is not None
        )


def addresses_in(live: Mapping[str, Any]) -> Addresses:
    """Return what is in the status of ``live``; nothing where that is not what it should be."""
    try:
        return msgspec.convert(dict(live), StatusAddresses).addresses
    except msgspec.ValidationError:
        return ()


def patch_of(live: Mapping[str, Any], wanted: Addresses) -> list[dict[str, Any]]:
    """Return the JSON patch that turns ``live`` into one with ``wanted``, if it is still so."""
    told = [{"value": each.value, "host": each.host} for each in wanted]
    status = live.get("status")
    # Covers what entitles the hosts, too, and a list that was absent: absence cannot be tested.
    version = (live.get("metadata") or {}).get("resourceVersion")
    tested = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    if isinstance(status, dict) and "addresses" in status:
        before = {"op": "test", "path": _PATH, "value": status["addresses"]}
        if told:
            return [tested, before, {"op": "replace", "path": _PATH, "value": told}]
        return [tested, before, {"op": "remove", "path": _PATH}]
    if isinstance(status, dict):
        return [tested, {"op": "add", "path": _PATH, "value": told}]
    return [tested, {"op": "add", "path": "/status", "value": {"addresses": told}}]
