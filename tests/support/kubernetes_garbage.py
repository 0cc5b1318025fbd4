"""What a cluster's garbage collector does to objects whose owners are gone, in the background.

An object goes when none of the owners it names is there any more, found by uid; an owner of a kind
that nobody serves is not judged. One that still has another owner only forgets those that are gone.
"""

from collections.abc import Iterator

from tests.support.kubernetes_objects import Json, Key, KubernetesObjects


async def collect_for_ever(objects: KubernetesObjects) -> None:
    """Collect after every turn, until cancelled."""
    while True:
        turn = objects.turn
        collect(objects)
        if turn is objects.turn:
            await turn.wait()


def collect(objects: KubernetesObjects) -> None:
    """Delete what nobody owns any more, and what that owned."""
    kinds = {(each.group, each.kind) for each in objects.resources.values()}
    while left := list(_orphans(objects, kinds)):
        for plural, key, document, gone in left:
            owners = document["metadata"]["ownerReferences"]
            if len(gone) == len(owners):
                objects.delete(plural, key)
            else:
                kept = [each for each in owners if each not in gone]
                metadata = {**document["metadata"], "ownerReferences": kept}
                objects.write(plural, key, {**document, "metadata": metadata})


def _orphans(
    objects: KubernetesObjects, kinds: set[tuple[str, str]]
) -> Iterator[tuple[str, Key, Json, list[Json]]]:
    for uid in [each for each in objects.owned if each not in objects.uids]:
        for plural, key in list(objects.owned[uid]):
            document = objects.get(plural, key)
            if document is None:
                continue
            owners = document["metadata"].get("ownerReferences", ())
            gone = [
                each
                for each in owners
                if each["uid"] not in objects.uids and _is_served(each, kinds)
            ]
            if gone:
                yield plural, key, document, gone


def _is_served(owner: Json, kinds: set[tuple[str, str]]) -> bool:
    group, _, _ = owner.get("apiVersion", "").rpartition("/")
    return (group, owner.get("kind", "")) in kinds
