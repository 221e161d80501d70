"""Documents as companies write them: each drafted job loads, and reads a server that answers as they promise."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from lakecat_connectors.openapi import draft

PAYMENTS = """
openapi: 3.0.0
info: {title: Payments, version: 2024-11-20}
servers: [{url: 'https://api.payments.example/'}]
security: [{basicAuth: []}, {bearerAuth: []}]
components:
  securitySchemes:
    basicAuth: {type: http, scheme: basic}
    bearerAuth: {type: http, scheme: bearer, bearerFormat: auth-scheme}
  schemas:
    customer:
      type: object
      properties:
        id: {type: string, maxLength: 5000}
        created: {type: integer, format: unix-time}
        owner: {anyOf: [{maxLength: 5000, type: string}, {$ref: '#/components/schemas/account'}], nullable: true}
    account:
      type: object
      properties: {id: {type: string}, customer: {$ref: '#/components/schemas/customer'}}
    source: {type: object, properties: {id: {type: string}, no: {type: boolean}}}
    list:
      type: object
      properties: {object: {type: string, enum: [list]}, has_more: {type: boolean}, url: {type: string}}
paths:
  /v1/customers:
    get:
      description: "<p>Returns a list of your customers.</p>"
      parameters:
        - {in: query, name: created, schema: {anyOf: [{type: object}, {type: integer}]}, style: deepObject}
        - {in: query, name: limit, schema: {type: integer}}
        - {in: query, name: starting_after, schema: {type: string}}
        - {in: header, name: Payments-Version, required: true, schema: {type: string}, example: 2024-11-20}
      requestBody: {content: {application/x-www-form-urlencoded: {schema: {type: object}}}}
      responses:
        200:
          description: Successful response.
          content:
            application/json:
              schema:
                allOf:
                  - $ref: '#/components/schemas/list'
                  - properties: {data: {type: array, items: {$ref: '#/components/schemas/customer'}}}
              example:
                {object: list, has_more: false, data: [{id: cus/1, created: 1700000000, owner: null}]}
        default: {description: Error response.}
  /v1/customers/{customer}/sources/{id}.json:
    get:
      responses:
        200:
          content:
            application/json:
              schema: {type: array, items: {type: object, properties: {id: {type: string}}}}
              example: [{id: part}]
  /v1/customers/{customer}/sources:
    get:
      parameters: [{in: path, name: customer, required: true, schema: {type: string}}]
      responses:
        200:
          content:
            application/json; charset=utf-8:
              schema:
                properties:
                  data: {items: {anyOf: [{$ref: '#/components/schemas/source'}, {type: string}]}, type: array}
                  has_more: {type: boolean}
              example: {data: [{id: src_1, 'no': true}], has_more: false}
"""

PEOPLE: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "People (HAL)"},
    "servers": [{"url": "https://{tenant}.people.example/{version}/", "variables": {"tenant": {"default": "acme"}}}],
    "security": [{"sso": ["read"], "key": []}],
    "components": {
        "securitySchemes": {
            "sso": {"type": "openIdConnect", "openIdConnectUrl": "https://login.example"},
            "cert": {"type": "mutualTLS"},
            "digest": {"type": "http", "scheme": "digest"},
            "key": {"type": "apiKey", "in": "cookie", "name": "SESSION"},
        },
        "schemas": {
            "Person": {
                "allOf": [
                    {"$ref": "#/components/schemas/Thing"},
                    {"type": ["object", "null"], "properties": {"boss": {"$ref": "#/components/schemas/Person"}}},
                ]
            },
            "Thing": {
                "oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Identified"}],
                "discriminator": {"propertyName": "kind"},
            },
            "Identified": {
                "properties": {"uuid": {"type": "string"}, "kind": {"const": "p"}},
                "allOf": [{"$ref": "#/components/schemas/Thing"}],
            },
        },
    },
    "paths": {
        "/people": {
            "summary": "people",
            "get": {
                "parameters": [{"$ref": "#/paths/~1people~1%7Bid%7D~1roles/get/parameters/1"}],
                "responses": {
                    "200": {
                        "content": {
                            "application/hal+json": {
                                "schema": {
                                    "properties": {
                                        "_embedded": {
                                            "properties": {
                                                "people": {
                                                    "type": "array",
                                                    "items": {"$ref": "#/components/schemas/Person"},
                                                }
                                            }
                                        },
                                        "_links": {
                                            "properties": {
                                                "next": {"properties": {"href": {"type": ["string", "null"]}}}
                                            }
                                        },
                                    }
                                },
                                "example": {
                                    "_embedded": {"people": [{"uuid": "u 1", "kind": "p", "boss": None}]},
                                    "_links": {"next": {"href": None}},
                                },
                            }
                        }
                    }
                },
            },
        },
        "/people/{id}/roles": {
            "get": {
                "parameters": [
                    {"in": "path", "name": "id", "required": True},
                    {"in": "query", "name": "expand", "required": True, "schema": {"type": "array"}, "example": "all"},
                ],
                "responses": {
                    "2XX": {
                        "content": {
                            "application/json": {
                                "schema": {"type": "array", "items": {"properties": {"role": {"type": "string"}}}},
                                "example": [{"role": "chief"}],
                            }
                        }
                    }
                },
            }
        },
        "/people#search": {"get": {"responses": {"200": {"content": {"application/json": {"schema": True}}}}}},
    },
}

STOCK = """
swagger: "2.0"
info: {title: Stock, version: 1.0}
host: api.stock.example
basePath: /v2
schemes: [http, https]
produces: [application/json]
securityDefinitions:
  legacy: {type: oauth2, flow: implicit, authorizationUrl: 'https://x.example'}
  machine: {type: oauth2, flow: application, tokenUrl: /oauth/token, scopes: {read: all}}
security: [{legacy: []}, {machine: [read]}]
parameters:
  page: {name: page, in: query, type: integer, default: 1}
  size: {name: page_size, in: query, type: integer, maximum: 50}
definitions:
  Item:
    type: object
    required: [id]
    properties:
      id: {type: integer}
      name: {type: string}
      parts: {type: array, items: {$ref: '#/definitions/Item'}}
  Bin: {type: object, properties: {code: {type: string}}}
paths:
  /items:
    parameters: [{$ref: '#/parameters/page'}, {$ref: '#/parameters/size'}]
    get:
      parameters: [{name: status, in: query, required: true, type: string, enum: [live, gone]}]
      responses:
        200:
          description: ok
          schema:
            type: object
            properties: {items: {type: array, items: {$ref: '#/definitions/Item'}}, total: {type: integer}}
          examples: {application/json: {items: [{id: 7, name: bolt, parts: []}], total: 1}}
  /items/{itemId}/bins:
    get:
      parameters: [{name: itemId, in: path, required: true, type: integer}]
      responses:
        200: {schema: {type: array, items: {$ref: '#/definitions/Bin'}}, examples: {application/json: [{code: A1}]}}
"""


def examples(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the document says that each GET answers, by its path."""
    found = {}
    for path, item in document["paths"].items():
        for answer in item["get"]["responses"].values():
            for media in answer.get("content", {}).values():
                if "example" in media:
                    found[path] = media["example"]
            if "examples" in answer:
                found[path] = answer["examples"]["application/json"]
    return found


def filled(path: str, values: list[str]) -> str:
    return re.sub(r"\{[^{}]*\}", lambda _match: values.pop(0), path)


@pytest.mark.parametrize(
    ("text", "base", "parents", "tables"),
    [
        (
            PAYMENTS,
            "https://api.payments.example",
            ["cus%2F1", "src_1"],
            {
                "customers_sources": [{"id": "part", "id_of_parent": "src_1", "customer_of_parent": "cus/1"}],
                "customers": [{"id": "cus/1", "created": 1700000000, "owner": None}],
                "sources": [{"id": "src_1", "no": True, "customer_of_parent": "cus/1"}],
            },
        ),
        (
            json.dumps(PEOPLE),
            "https://acme.people.example/{version}",
            ["u%201"],
            {
                "people": [{"uuid": "u 1", "kind": "p", "boss": None}],
                "roles": [{"role": "chief", "id_of_parent": "u 1"}],
            },
        ),
        (
            STOCK,
            "https://api.stock.example/v2",
            ["7"],
            {"items": [{"id": 7, "name": "bolt", "parts": []}], "bins": [{"code": "A1", "itemId_of_parent": 7}]},
        ),
    ],
    ids=["payments", "people", "stock"],
)
def test_a_drafted_job_reads_what_the_document_promises(project, api, text, base, parents, tables):
    for path, example in examples(yaml.safe_load(text)).items():
        api.on("/base" + filled(path, list(parents)), example)
    api.on("/oauth/token", {"access_token": "given-1", "token_type": "bearer"})
    job = yaml.safe_load(draft(text))
    assert job["options"]["base_url"] == base
    job["options"] |= {"base_url": f"{api.url}/base", "allow_private": True}
    auth = job["options"]["auth"]
    for key, value in auth.items():
        if str(value).startswith("env:"):
            auth[key] = "file:secret.txt"
        if key == "token_url":
            assert value == "https://api.stock.example/oauth/token"
            auth[key] = f"{api.url}/oauth/token"
    project.put("secret.txt", "s3cret-9")
    project.run(project.job("drafted", **{**job, "connector": "lakecat_connectors.rest:Rest"}))
    for name, rows in tables.items():
        assert project.table(f"raw.{name}").to_pylist() == rows
    project.clean()


def test_what_a_document_demands_is_in_its_draft():
    payments = yaml.safe_load(draft(PAYMENTS))["options"]
    assert payments["auth"]["type"] == "basic"
    assert payments["resources"]["customers"]["headers"] == {"Payments-Version": "2024-11-20"}
    assert payments["resources"]["customers"]["paginator"]["last_row"] == "id"
    assert "# check: nothing says what {version} is" in draft(PEOPLE)
    people = yaml.safe_load(draft(PEOPLE))["options"]
    assert people["auth"] == {"type": "api_key", "in": "cookie", "name": "SESSION", "value": "env:PEOPLE_HAL_KEY"}
    assert people["resources"]["people"]["data_path"] == "_embedded.people"
    assert people["resources"]["people"]["params"] == {"expand": "all"}
    stock = yaml.safe_load(draft(STOCK))["options"]
    assert stock["auth"]["type"] == "oauth2_client_credentials"
    assert stock["resources"]["items"]["params"] == {"status": "live"}
    assert stock["resources"]["items"]["paginator"] == {
        "type": "page",
        "page_param": "page",
        "size_param": "page_size",
        "size": 50,
        "total_path": "total",
    }


@pytest.mark.parametrize("secret", [True, False])
def test_credentials_are_drafted_with_https(secret):
    schemes = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    row = {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}}
    document = {"openapi": "3.0.0", "servers": [{"url": "http://api.example/v1"}], "paths": {"/a": listing(row)}}
    if secret:
        document |= {"security": [{"key": []}], "components": schemes}
    text = draft(document)
    assert yaml.safe_load(text)["options"]["base_url"] == f"http{'s' if secret else ''}://api.example/v1"
    assert ("# check: the document says http://" in text) is secret


def test_keys_that_yaml_takes_for_something_else_stay_names():
    text = """
openapi: 3.1
info: {title: T}
paths:
  /a:
    get:
      responses:
        200:
          content:
            application/json:
              schema: {properties: {1: {type: array, items: {properties: {id: {type: string}}}}, no: {}}}
"""
    (resource,) = yaml.safe_load(draft(text))["options"]["resources"].values()
    assert resource["data_path"] == '"1"'


def listing(schema: Any, parameters: Any = ()) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"get": {"parameters": list(parameters), "responses": {"200": {"content": content}}}}


def test_schemas_that_multiply_cost_no_time():
    """Each schema is looked at once, however many ways lead to it."""
    names = [f"S{number}" for number in range(30)]
    every = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    schemas = {name: {"allOf": every, "anyOf": every, "properties": {"id": {"type": "string"}}} for name in names}
    document = {
        "openapi": "3.0.0",
        "paths": {"/a": listing({"type": "array", "items": every[0]})},
        "components": {"schemas": schemas},
    }
    started = time.process_time()
    assert "primary_key: [id]" in draft(document)
    assert time.process_time() - started < 2


def test_a_large_document_is_drafted_in_proportion_to_its_size():
    row = {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}}
    seconds = []
    for count in (200, 1600):
        paths = {f"/r{number}": listing(row) for number in range(count)}
        paths |= {f"/r{number}/{{id}}/c": listing(row) for number in range(count)}
        started = time.process_time()
        job = draft({"openapi": "3.0.0", "paths": paths})
        seconds.append(time.process_time() - started)
        assert job.count(" include_from_parent:") == count
    assert seconds[1] < 8 * seconds[0] * 3
