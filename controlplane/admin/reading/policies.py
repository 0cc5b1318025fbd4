"""Policies as node proxies enforce them: a page at a time, one whole, and those of a workload."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from controlplane.admin.errors import NotFoundError
from controlplane.admin.queries import PolicyQuery
from controlplane.admin.reading.ground import Ground, contains, told
from controlplane.admin.reading.holders import HOLDERS, Holders
from controlplane.admin.reading.listing import Listing
from controlplane.admin.reading.texts import ACTIONS, SCOPES
from controlplane.admin.values.common import Page
from controlplane.admin.values.mesh import PolicyDetail, PolicyValue
from controlplane.admin.viewer import Viewer
from controlplane.encode.document import protobuf_json
from controlplane.model.names import Name
from controlplane.model.policy import Action, Authorization, Scope
from controlplane.model.workload import Workload
from controlplane.snapshots.scope import AUTHORIZATION_TYPE, AUTHORIZATIONS, GLOBAL_AUTHORIZATIONS

_APPLYING: Final = 1000
"""Policies of one namespace that are told for one workload."""


class Policies:
    """Every policy that node proxies are sent."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._policies = ground.pipeline.world.authorizations
        self.listing = Listing(self._policies, lambda key, _: (key.namespace, key.name))

    async def page(self, viewer: Viewer, query: PolicyQuery) -> Page[PolicyValue]:
        """Return policies, by namespace and name.

        Raises:
            BadCursorError: ``after`` is nothing this list gave out.
        """
        return await self._ground.page(
            self.listing, viewer, query, keep=_kept(query), values=self._values
        )

    async def one(self, viewer: Viewer, key: Name) -> PolicyDetail:
        """Return one policy.

        Raises:
            NotFoundError: there is none, or the viewer may not see it.
        """
        policy = self._policies.get(key)
        if policy is None or not viewer.may_see(key.namespace):
            raise NotFoundError(f"there is no policy {key}")
        holders = await self._ground.holders()
        resource = self._ground.catalog.table(AUTHORIZATIONS).get(str(key))
        named = tuple(islice(holders.named_policy(str(key)), HOLDERS))
        return PolicyDetail(
            **dict(self._value(policy, holders)),
            holders=named if viewer.sees_all else (),
            document=None if resource is None else protobuf_json(resource),
        )

    async def of_workload(self, viewer: Viewer, workload: Workload) -> tuple[PolicyValue, ...]:
        """Return the policies that apply to a workload, in the order they are judged in.

        What denies comes before what allows, and in both the whole mesh before the namespace
        before the workload itself.
        """
        names = [
            Name(*resource.name.split("/", 1))
            for resource in self._ground.catalog.table(GLOBAL_AUTHORIZATIONS).resources()
        ]
        own = await self.listing.page(
            limit=_APPLYING,
            namespace=workload.namespace,
            keep=lambda _, policy: policy.scope is Scope.NAMESPACE,
        )
        names += [key for key, _ in own.items]
        names += workload.authorization_policies
        found = [
            policy
            for name in dict.fromkeys(names)
            if viewer.may_see(name.namespace) and (policy := self._policies.get(name)) is not None
        ]
        found.sort(key=lambda each: (each.action is not Action.DENY, each.scope, each.key))
        return await self._values(found)

    async def _values(self, policies: Iterable[Authorization]) -> tuple[PolicyValue, ...]:
        holders = await self._ground.holders()
        return await told(self._value(policy, holders) for policy in policies)

    def _value(self, policy: Authorization, holders: Holders) -> PolicyValue:
        reference = self._ground.object_of(AUTHORIZATION_TYPE, str(policy.key))
        return PolicyValue(
            name=policy.name,
            namespace=policy.namespace,
            action=ACTIONS[policy.action],
            scope=SCOPES[policy.scope],
            dry_run=policy.dry_run,
            rules=len(policy.groups),
            source=self._ground.source(reference),
            served=holders.of_policy(str(policy.key)),
            conditions=self._ground.conditions(reference),
        )


def _kept(query: PolicyQuery) -> Callable[[Name, Authorization], bool] | None:
    """Return what a policy must be like; None for anything."""
    if not (query.name or query.action or query.scope):
        return None
    name = query.name.lower()

    def keep(_: Name, policy: Authorization) -> bool:
        return (
            (not query.action or ACTIONS[policy.action] == query.action)
            and (not query.scope or SCOPES[policy.scope] == query.scope)
            and contains(name, policy.name)
        )

    return keep
