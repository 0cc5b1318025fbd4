"""Write docs/api.md from the OpenAPI document of the admin side; with --check, compare instead."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from generated_page import cell, keep
from prometheus_client import CollectorRegistry

from controlplane.admin.api import AdminParts, admin_application
from controlplane.admin.rest.api import described

if TYPE_CHECKING:
    from controlplane.admin.mesh_view import MeshView

HEAD: Final = """# The API

{about}
Everything is below `/api/v1` of the admin port (15014). A running server describes it as OpenAPI
3.1 at `/api/v1/openapi.json`. This page is written by `make docs`.

"""
_METHODS: Final = ("get", "post", "put", "patch", "delete")


def api_page() -> str:
    """Return the whole page."""
    # Routes are described without a mesh to answer from.
    view = cast("MeshView", object())
    application = admin_application(
        AdminParts(version="0", waiting_for=list, registry=CollectorRegistry(), view=view)
    )
    document = described(application, "0")
    operations = [
        (path, method, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    schemas = document["components"]["schemas"]
    listed = "".join(
        f"- [`{method.upper()} {path}`](#{_anchor(method, path)}): {_summary(operation)}\n"
        for path, method, operation in operations
    )
    return (
        HEAD.format(about=document["info"]["description"])
        + listed
        + "".join(_operation(*each) for each in operations)
        + "\n## Values\n"
        + "".join(_schema(name, schemas[name]) for name in sorted(schemas))
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    lines = [f"\n## {method.upper()} {path}\n\n{operation.get('description', '').strip()}\n"]
    parameters = operation.get("parameters", ())
    if parameters:
        lines.append("\n| parameter | in | type | meaning |\n|---|---|---|---|\n")
    for each in parameters:
        required = ", required" if each.get("required") and each["in"] != "path" else ""
        meaning = each.get("description") or each["schema"].get("description", "")
        lines.append(
            f"| `{each['name']}` | {each['in']}{required} | {_type(each['schema'])} "
            f"| {cell(meaning)} |\n"
        )
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        lines.append(f"\nTakes {_type(body['schema'])}.\n")
    lines.append("\n| status | answer |\n|---|---|\n")
    for status, response in sorted(operation["responses"].items()):
        kinds = [
            _type(content["schema"]) for content in response.get("content", {}).values() if content
        ]
        said = "" if status.startswith("2") else response.get("description", "")
        answer = ": ".join(filter(None, (said, " or ".join(kinds))))
        lines.append(f"| {status} | {cell(answer)} |\n")
    return "".join(lines)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    about = " ".join(schema.get("description", "").split())
    lines = [f'\n### <a id="{name.lower()}"></a>{_named(name)}\n\n{about}\n']
    if "enum" in schema:
        lines.append(f"\nOne of {', '.join(f'`{each}`' for each in schema['enum'])}.\n")
    properties = schema.get("properties", {})
    if properties:
        lines.append("\n| field | type | meaning |\n|---|---|---|\n")
    for field, told in properties.items():
        lines.append(f"| `{field}` | {_type(told)} | {cell(told.get('description', ''))} |\n")
    return "".join(lines)


def _type(schema: Mapping[str, Any]) -> str:
    """Return a type in words; one that is a value of the page as a link to it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{_named(name)}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(each) for each in schema[several])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join("empty" if each == "" else f"`{each}`" for each in values)
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'])}"
    return " ".join(filter(None, (str(kind), schema.get("format", ""))))


def _summary(operation: Mapping[str, Any]) -> str:
    lines = operation.get("description", "").strip().splitlines()
    return lines[0] if lines else operation.get("summary", "")


def _named(name: str) -> str:
    """Return what a value is called: names of generics hold what they are made of."""
    outer, separator, inner = name.rstrip("_").partition("_")
    return f"{outer} of {inner}" if separator else name


def _anchor(method: str, path: str) -> str:
    kept = "".join(each for each in path.lower() if each.isalnum() or each in "-_")
    return f"{method}-{kept}"


if __name__ == "__main__":
    sys.exit(keep("api.md", api_page()))
