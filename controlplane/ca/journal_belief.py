"""How much of the journal is believed: journal and key store in, what holds and doubts out.

The journal is a database that others may be able to write; the key store is sealed. A journal that
is ahead is a step that a leader wrote and could not finish, so it says nothing that a leader cannot
have written: no trust in keys that are not kept, no end of what is in force, no way back from an
end (docs/protocol/authorities.md AT-26).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from cryptography import x509

from controlplane.ca.authority import AuthorityKey
from controlplane.ca.authority_set import ENDED, AuthoritySet, KeptAuthorities
from controlplane.ca.csr import key_digest_of
from controlplane.model.certificate import AuthorityRecord, AuthorityStatus, BundleEntry
from controlplane.store.transition import NEXT_STATUSES

_IN_FORCE: Final = {AuthorityStatus.ACTIVE, AuthorityStatus.TAINTED}


def believed(journal: AuthoritySet, kept: KeptAuthorities) -> tuple[AuthoritySet, tuple[str, ...]]:
    """Return what holds before keys are looked at, and what in the journal is not believed.

    A journal that is not ahead of the key store says nothing new; a root that only the journal
    trusts is a doubt all the same, because the journal has to be put right.
    """
    ours = kept.authorities
    if journal.state.generation < ours.state.generation:
        return ours, ()
    faults = () if journal.state.generation == ours.state.generation else _faults(journal, kept)
    strange = _strange_roots(journal, kept)
    doubts = (
        *(f"the journal is not believed: {fault}" for fault in faults),
        *(f"the journal trusts a root nobody made: {entry.sha256[:16]}" for entry in strange),
    )
    if faults or journal.state.generation == ours.state.generation:
        return _at(ours, journal.state.generation), doubts
    if not strange:
        return journal, ()
    digests = {entry.sha256 for entry in strange}
    bundle = tuple(entry for entry in journal.bundle if entry.sha256 not in digests)
    return replace(journal, bundle=bundle), doubts


def _at(authorities: AuthoritySet, generation: int) -> AuthoritySet:
    return replace(authorities, state=replace(authorities.state, generation=generation))


def _strange_roots(journal: AuthoritySet, kept: KeptAuthorities) -> tuple[BundleEntry, ...]:
    """Return roots that the journal trusts, but neither the key store nor a key in it does."""
    known = {entry.certificate for entry in kept.authorities.trusted}
    keys = {key_digest_of(key.public_key()) for key in kept.keys.values()}
    return tuple(
        entry
        for entry in journal.trusted
        if entry.certificate not in known and _key_of(entry.certificate) not in keys
    )


def _faults(journal: AuthoritySet, kept: KeptAuthorities) -> tuple[str, ...]:
    """Return what no leader can have written after what the key store holds."""
    return tuple(sorted({*_faults_of_records(journal, kept), *_faults_of_state(journal, kept)}))


def _faults_of_records(journal: AuthoritySet, kept: KeptAuthorities) -> Iterator[str]:
    for ours in kept.authorities.living:
        theirs = journal.find(ours.authority_id)
        name = f"{ours.tier} {ours.authority_id[:8]}"
        if theirs is None:
            yield f"{name} is missing"
        elif (theirs.tier, theirs.certificate) != (ours.tier, ours.certificate):
            yield f"{name} is another"
        elif theirs.status not in _reachable(ours.status):
            yield f"{name} went from {ours.status} to {theirs.status}"
        elif ours.status is AuthorityStatus.ACTIVE and theirs.status in ENDED:
            yield f"{name} ended while it was in force"
    for theirs in journal.living:
        if kept.authorities.find(theirs.authority_id) is None and _has_wrong_key(theirs, kept.keys):
            yield f"{theirs.tier} {theirs.authority_id[:8]} is not of its key"


def _faults_of_state(journal: AuthoritySet, kept: KeptAuthorities) -> Iterator[str]:
    ours = kept.authorities
    if ours.active_root is not None:
        root = journal.active_root
        if root is None or root.status not in _IN_FORCE:
            yield "no root is in force"
        elif root.certificate not in {entry.certificate for entry in journal.trusted}:
            yield "the root in force is not trusted"
    signer = ours.active_intermediate
    theirs = None if signer is None else journal.find(signer.authority_id)
    if (
        theirs is not None
        and theirs.status is AuthorityStatus.ACTIVE
        and theirs != journal.active_intermediate
    ):
        yield "the intermediate in force does not sign"


def _reachable(status: AuthorityStatus) -> frozenset[AuthorityStatus]:
    """Return ``status`` and everything that may follow it."""
    found = {status}
    while True:
        wider = found.union(*(NEXT_STATUSES[each] for each in found))
        if wider == found:
            return frozenset(found)
        found = wider


def _has_wrong_key(record: AuthorityRecord, keys: Mapping[str, AuthorityKey]) -> bool:
    key = keys.get(record.authority_id)
    return key is not None and _key_of(record.certificate) != key_digest_of(key.public_key())


def _key_of(certificate: bytes) -> str:
    """Return the digest of a certificate's key; "" where it is no certificate."""
    try:
        return key_digest_of(x509.load_der_x509_certificate(certificate).public_key())
    except (ValueError, TypeError):
        return ""
