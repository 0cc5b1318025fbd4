"""Who may do what: RBAC objects in, verdicts on requests out, and what of the rights nobody used.

As the authoriser of an API server: rules only add up; a name in ``resourceNames`` never allows to
create or to list, unless the list is narrowed to that name by a field selector; the rules of a
RoleBinding reach no further than its namespace.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]

_BINDINGS = {"ClusterRoleBinding", "RoleBinding"}
_ROLES = {"ClusterRole", "Role"}
_BY_FIELD = {"list", "watch", "deletecollection"}


class Asked(NamedTuple):
    """One request: ``resource`` may have a subresource, ``secrets`` or ``pods/status``."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    parameters: Mapping[str, str]

    @property
    def judged_name(self) -> str:
        """The name an authoriser sees: that of the path, or the only one a selector lets pass."""
        if self.verb in _BY_FIELD:
            for each in self.parameters.get("fieldSelector", "").split(","):
                field, _, value = each.partition("=")
                if field == "metadata.name":
                    return value.lstrip("=")
        return self.name


class Grant(NamedTuple):
    """One verb on one resource: ``namespace`` and ``name`` are "" where it is any."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def allows(self, asked: Asked) -> bool:
        return (
            _is(self.verb, asked.verb)
            and _is(self.group, asked.group)
            and _is(self.resource, asked.resource)
            and self.namespace in ("", asked.namespace)
            and self.name in ("", asked.judged_name)
        )


def grants_of(documents: Iterable[Json], account: str) -> frozenset[Grant]:
    """Return what ``account`` (``namespace/name``) is granted by roles and their bindings."""
    held = [each for each in documents if each]
    roles = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in held
        if each.get("kind") in _ROLES
    }
    found: set[Grant] = set()
    for each in held:
        if each.get("kind") in _BINDINGS and _is_about(each, account):
            namespace = each["metadata"].get("namespace", "")
            reference = each["roleRef"]
            home = namespace if reference["kind"] == "Role" else ""
            role = roles.get((reference["kind"], home, reference["name"]), {})
            for rule in role.get("rules") or ():
                found.update(_grants(rule, namespace))
    return frozenset(found)


def unused(grants: Iterable[Grant], asked: Iterable[Asked]) -> list[Grant]:
    """Return the grants that none of the requests needed."""
    held = list(asked)
    return sorted(each for each in grants if not any(map(each.allows, held)))


def not_granted(grants: Iterable[Grant], asked: Iterable[Asked]) -> list[Asked]:
    """Return the requests that none of the grants allows."""
    held = list(grants)
    return [each for each in asked if not any(grant.allows(each) for grant in held)]


def refusal(asked: Asked, user: str) -> str:
    """Return the sentence of an API server that forbids ``asked``."""
    plural = asked.resource.partition("/")[0]
    about = f"{plural}.{asked.group}" if asked.group else plural
    name = f' "{asked.name}"' if asked.name else ""
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    return (
        f'{about}{name} is forbidden: User "{user}" cannot {asked.verb} resource '
        f'"{asked.resource}" in API group "{asked.group}" {where}'
    )


def _is(granted: str, asked: str) -> bool:
    return granted in ("*", asked)


def _is_about(binding: Json, account: str) -> bool:
    namespace, _, name = account.partition("/")
    return any(
        (each.get("kind"), each.get("namespace"), each.get("name"))
        == ("ServiceAccount", namespace, name)
        for each in binding.get("subjects") or ()
    )


def _grants(rule: Json, namespace: str) -> Iterator[Grant]:
    for verb in rule["verbs"]:
        for group in rule.get("apiGroups", ()):
            for resource in rule.get("resources", ()):
                for name in rule.get("resourceNames") or ("",):
                    yield Grant(verb, group, resource, namespace, name)
