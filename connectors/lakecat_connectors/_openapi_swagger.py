"""Swagger 2.0 in the shape of OpenAPI 3, as far as a draft looks at it; references stay where they lead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_FLOWS: Final = {"application": "clientCredentials", "accessCode": "authorizationCode"}
_SCHEMA: Final = (
    "type", "format", "items", "enum", "default", "minimum", "maximum", "x-example",
)  # fmt: skip


def from_swagger(root: Mapping[str, Any]) -> dict[str, Any]:
    """The document with servers, security schemes, and parameters and responses whose types stand in schemas."""
    paths = {path: _item(item) if isinstance(item, Mapping) else item for path, item in _mapping(root, "paths").items()}
    schemes = {name: _scheme(one) for name, one in _mapping(root, "securityDefinitions").items()}
    return {
        **root,
        "openapi": "3.0 by way of Swagger 2.0",
        "servers": _servers(root),
        "components": {"securitySchemes": schemes},
        "paths": paths,
        "parameters": {name: _parameter(one) for name, one in _mapping(root, "parameters").items()},
        "responses": {name: _response(one) for name, one in _mapping(root, "responses").items()},
    }


def _servers(root: Mapping[str, Any]) -> list[dict[str, str]]:
    host, schemes = root.get("host"), root.get("schemes")
    if not isinstance(host, str) or not host:
        return []
    scheme = "http" if schemes == ["http"] else "https"
    return [{"url": f"{scheme}://{host}/{str(root.get('basePath') or '').strip('/')}"}]


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    found = _with_parameters(item)
    if isinstance(get := item.get("get"), Mapping):
        responses = {status: _response(one) for status, one in _mapping(get, "responses").items()}
        found["get"] = {**_with_parameters(get), "responses": responses}
    return found


def _with_parameters(owner: Mapping[str, Any]) -> dict[str, Any]:
    parameters = owner.get("parameters")
    if not isinstance(parameters, list):
        return dict(owner)
    return {**owner, "parameters": [_parameter(one) for one in parameters]}


def _parameter(one: Any) -> Any:
    if not isinstance(one, Mapping) or "$ref" in one or "schema" in one:
        return one
    schema = {key: one[key] for key in _SCHEMA if key in one}
    return {**one, "schema": schema, "example": one.get("x-example")}


def _response(one: Any) -> Any:
    if not isinstance(one, Mapping) or "schema" not in one:
        return one
    return {**one, "content": {"application/json": {"schema": one["schema"]}}}


def _scheme(one: Any) -> Any:
    if not isinstance(one, Mapping):
        return one
    if one.get("type") == "basic":
        return {"type": "http", "scheme": "basic"}
    if one.get("type") == "oauth2":
        return {"type": "oauth2", "flows": {_FLOWS.get(str(one.get("flow")), "other"): one}}
    return one


def _mapping(owner: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = owner.get(key)
    return value if isinstance(value, Mapping) else {}
