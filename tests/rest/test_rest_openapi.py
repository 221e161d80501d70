"""Out of an OpenAPI document comes a job that loads, and that reads the API it was drawn from."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from lakecat.errors import ConfigError, ParseError, SourceError
from lakecat_connectors._rest_options import parse_options
from lakecat_connectors.openapi import draft

SHOP = """
openapi: 3.0.3
info: {title: "Shop: orders & more", version: 1.4.0}
servers:
  - url: https://{region}.shop.example/v1
    variables: {region: {default: eu}}
security: [{key: []}]
components:
  securitySchemes:
    key: {type: apiKey, in: header, name: X-Shop-Key}
  parameters:
    offset: {name: offset, in: query, schema: {type: integer, default: 0}}
    limit: {name: limit, in: query, schema: {type: integer, default: 20, maximum: 250}}
  schemas:
    Order:
      type: object
      properties:
        id: {type: integer, format: int64}
        updated_at: {type: string, format: date-time}
        lines: {type: array, items: {$ref: '#/components/schemas/Line'}}
    Line: {type: object, properties: {sku: {type: string}}}
    Page:
      type: object
      properties: {total: {type: integer}}
paths:
  /orders:
    parameters:
      - $ref: '#/components/parameters/offset'
      - $ref: '#/components/parameters/limit'
    get:
      summary: "All orders\\n: # newest first"
      parameters:
        - {name: updated_since, in: query, schema: {type: string, format: date-time}}
        - {name: currency, in: query, required: true, schema: {type: string, enum: [EUR, USD]}}
      responses:
        '200':
          description: ok
          content:
            application/json:
              schema:
                allOf:
                  - $ref: '#/components/schemas/Page'
                  - type: object
                    properties:
                      orders: {type: array, items: {$ref: '#/components/schemas/Order'}}
    post: {responses: {'201': {description: made}}}
  /orders/{orderId}:
    get:
      parameters: [{name: orderId, in: path, required: true, schema: {type: integer}}]
      responses: {'200': {content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}}}
  /orders/{orderId}/shipments:
    get:
      parameters: [{name: orderId, in: path, required: true, schema: {type: integer}}]
      responses:
        '200':
          content:
            application/json:
              schema: {type: array, items: {type: object, properties: {uuid: {type: string, format: uuid}}}}
  /orders/{orderId}/shipments/{shipment-id}/parcels:
    get:
      responses:
        '200':
          content:
            application/json:
              schema: {type: array, items: {type: object, properties: {weight: {type: number}}}}
  /warehouses/{w}/stock:
    get:
      responses:
        '200':
          content: {application/json: {schema: {type: array, items: {type: object, properties: {id: {type: string}}}}}}
  /old:
    get:
      deprecated: true
      responses:
        '200':
          content: {application/json: {schema: {type: array, items: {type: object, properties: {id: {type: string}}}}}}
"""

CRM: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "CRM"},
    "servers": [{"url": "/relative"}],
    "components": {
        "securitySchemes": {
            "oauth": {
                "type": "oauth2",
                "flows": {
                    "clientCredentials": {
                        "tokenUrl": "https://login.example/token",
                        "scopes": {"contacts.read": "", "deals.read": ""},
                    }
                },
            }
        },
        "schemas": {
            "Contact": {
                "type": ["object", "null"],
                "properties": {"uuid": {"type": "string"}, "createdAt": {"type": "string", "format": "date-time"}},
            },
            "Paging": {"type": "object", "properties": {"nextCursor": {"type": ["string", "null"]}}},
            "Node": {"type": "object", "properties": {"self": {"$ref": "#/components/schemas/Node"}}},
            "Loop": {"$ref": "#/components/schemas/Loop"},
        },
    },
    "paths": {
        "/contacts": {
            "get": {
                "security": [{"oauth": ["contacts.read"]}],
                "parameters": [
                    {"name": "cursor", "in": "query", "schema": {"type": "string"}},
                    {"name": "createdAfter", "in": "query", "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {
                        "content": {
                            "application/json; charset=utf-8": {
                                "schema": {
                                    "type": "object",
                                    "properties": {
                                        "data": {"type": "array", "items": {"$ref": "#/components/schemas/Contact"}},
                                        "paging": {"$ref": "#/components/schemas/Paging"},
                                        "errors": {"type": "array", "items": {"type": "object", "properties": {}}},
                                    },
                                }
                            }
                        }
                    }
                },
            }
        },
        "/odata/Deals": {
            "get": {
                "responses": {
                    "2XX": {
                        "content": {
                            "application/json": {
                                "schema": {
                                    "properties": {
                                        "value": {"items": {"properties": {"Id": {"type": "integer"}}}},
                                        "@odata.nextLink": {"type": "string"},
                                    }
                                }
                            }
                        }
                    }
                }
            }
        },
        "/loop": {
            "get": {
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Loop"}}}}
                }
            }
        },
        "/far": {"get": {"responses": {"200": {"$ref": "other.yaml#/x"}}}},
    },
}

PAGES = """
openapi: "3.0.0"
info: {title: "9 lives"}
servers: [{url: 'http://api.example/'}]
components:
  securitySchemes:
    login: {type: http, scheme: basic}
paths:
  /no/cats:
    get:
      security: [{login: []}]
      parameters:
        - {name: page, in: query, schema: {type: integer, minimum: 0}}
        - {name: perPage, in: query, schema: {type: integer, default: 50}}
      responses:
        default:
          content:
            application/json:
              schema:
                type: object
                properties:
                  meta: {type: object, properties: {totalPages: {type: integer}}}
                  result: {type: array, items: {type: object, properties: {name: {type: string}}}}
  /yes/cats:
    get:
      responses:
        '200':
          headers: {Link: {schema: {type: string}}}
          content:
            application/hal+json:
              schema: {type: array, items: {type: object, properties: {cat_id: {type: integer}}}}
  /stars:
    get:
      parameters: [{name: starting_after, in: query, schema: {type: string}}]
      responses:
        '200':
          content:
            application/json:
              schema:
                type: object
                properties:
                  has_more: {type: boolean}
                  data: {type: array, items: {type: object, properties: {id: {type: string}}}}
"""


def options_of(text: str) -> dict[str, Any]:
    """The draft's options, which the connector must take as they are."""
    options = yaml.safe_load(text)["options"]
    parse_options(options)
    return options


def test_a_draft_says_what_the_document_says():
    text = draft(SHOP)
    job = yaml.safe_load(text)
    assert job["connector"] == "rest"
    assert job["streams"] == {
        "orders": {"mode": "merge"},
        "shipments": {"mode": "replace"},
        "parcels": {"mode": "replace"},
    }
    options = options_of(text)
    assert options["base_url"] == "https://eu.shop.example/v1"
    assert options["auth"] == {
        "type": "api_key",
        "in": "header",
        "name": "X-Shop-Key",
        "value": "env:SHOP_ORDERS_MORE_KEY",
    }
    assert options["resources"]["orders"] == {
        "description": "All orders : # newest first",
        "path": "/orders",
        "data_path": "orders",
        "primary_key": ["id"],
        "params": {"currency": "EUR"},
        "paginator": {
            "type": "offset",
            "offset_param": "offset",
            "limit_param": "limit",
            "limit": 250,
            "total_path": "total",
        },
        "incremental": {"param": "updated_since"},
    }
    assert options["resources"]["shipments"]["parent"] == {"resource": "orders", "params": {"orderId": "id"}}
    assert options["resources"]["parcels"] == {
        "path": "/orders/{orderId}/shipments/{shipment_id}/parcels",
        "parent": {"resource": "shipments", "params": {"shipment_id": "uuid", "orderId": "orderId_of_parent"}},
        "include_from_parent": {"shipment_id_of_parent": "uuid", "orderId_of_parent": "orderId_of_parent"},
    }


def test_what_is_not_sure_is_marked():
    text = draft(SHOP)
    assert "# cursor: updated_at  # check:" in text
    assert "# check: the API requires it" in text
    assert "# left out: /warehouses/{w}/stock: nothing in the document fills its parameters" in text
    assert "old" not in yaml.safe_load(text)["options"]["resources"]


def test_a_draft_of_openapi_3_1():
    text = draft(json.dumps(CRM))
    options = options_of(text)
    assert "base_url: https://example.com  # check" in text
    assert options["auth"] == {
        "type": "oauth2_client_credentials",
        "token_url": "https://login.example/token",
        "client_id": "env:CRM_CLIENT_ID",
        "client_secret": "env:CRM_CLIENT_SECRET",
        "scope": "contacts.read deals.read",
    }
    assert options["resources"]["contacts"] == {
        "path": "/contacts",
        "data_path": "data",
        "primary_key": ["uuid"],
        "paginator": {"type": "cursor", "path": "paging.nextCursor", "param": "cursor"},
        "incremental": {"param": "createdAfter"},
    }
    assert options["resources"]["deals"] == {
        "path": "/odata/Deals",
        "data_path": "value",
        "paginator": {"type": "next_url", "path": '"@odata.nextLink"'},
    }
    assert "# left out: the reference 'other.yaml#/x' leads out of the document" in text


def test_a_draft_of_page_numbers_link_headers_and_last_rows():
    text = draft(PAGES)
    options = options_of(text)
    assert options["auth"] == {
        "type": "basic",
        "username": "env:API_9_LIVES_USER",
        "password": "env:API_9_LIVES_PASSWORD",
    }
    assert options["resources"]["cats"]["paginator"] == {
        "type": "page",
        "page_param": "page",
        "start": 0,
        "size_param": "perPage",
        "size": 50,
        "total_pages_path": "meta.totalPages",
    }
    assert options["resources"]["yes_cats"]["paginator"] == {"type": "link_header"}
    assert options["resources"]["yes_cats"]["primary_key"] == ["cat_id"]
    last_row = {"type": "cursor", "last_row": "id", "param": "starting_after", "has_more_path": "has_more"}
    assert options["resources"]["stars"]["paginator"] == last_row


def test_a_parsed_document_does_as_well():
    assert draft(CRM) == draft(json.dumps(CRM).encode())


def test_the_drafted_job_is_read_as_one_and_loads_the_api(project, api):
    orders = [{"id": number, "updated_at": "2026-01-01T00:00:00Z"} for number in range(1, 4)]
    api.on("/v1/orders", lambda r: {"total": 3, "orders": orders[int(r.query["offset"]) :][:2]})
    for order in orders:
        api.on(f"/v1/orders/{order['id']}/shipments", [{"uuid": f"u{order['id']}"}])
        api.on(f"/v1/orders/{order['id']}/shipments/u{order['id']}/parcels", [{"weight": 1.5}])
    text = draft(SHOP).replace("https://eu.shop.example", api.url).replace("connector: rest\n", "")
    job = yaml.safe_load(text)
    job["options"]["allow_private"] = True
    job["options"]["auth"]["value"] = "file:key.txt"
    project.put("key.txt", "abc")
    project.run(project.job("shop", connector="lakecat_connectors.rest:Rest", **job))
    assert sorted(project.table("raw.orders")["id"].to_pylist()) == [1, 2, 3]
    parcels = project.table("raw.parcels").to_pylist()
    assert [(row["weight"], row["shipment_id_of_parent"], row["orderId_of_parent"]) for row in parcels] == [
        (1.5, "u1", 1),
        (1.5, "u2", 2),
        (1.5, "u3", 3),
    ]
    assert {request.headers["x-shop-key"] for request in api.requests} == {"abc"}


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        ('swagger: "1.2"', ConfigError, "is no OpenAPI document"),
        ("openapi: 4.0.0", ConfigError, "is no OpenAPI document"),
        ("openapi: 33", ConfigError, "is no OpenAPI document"),
        ("[1]", ConfigError, "is no OpenAPI document"),
        ("", ConfigError, "is no OpenAPI document"),
        ("openapi: 3.0.0\n? {a: b}\n: c", ParseError, "neither JSON nor YAML"),
        ("swagger: 2.0", SourceError, "no GET of the document"),
        ("{", ParseError, "neither JSON nor YAML"),
        ("a: [", ParseError, "neither JSON nor YAML"),
        (b"\xff\xfe\x00", ParseError, "neither JSON nor YAML"),
        ("a: !!python/object/apply:os.system [echo]", ParseError, "neither JSON nor YAML"),
        ("[" * 100_000, ParseError, "neither JSON nor YAML"),
        ('openapi: "3.0.0"', SourceError, "no GET of the document"),
        ('{"openapi": "3.0.0", "paths": {"/a": {"get": {"responses": []}}, "/b": 7}}', SourceError, "no GET"),
    ],
)
def test_what_is_no_openapi_document_is_refused(document, error, message):
    with pytest.raises(error, match=message) as caught:
        draft(document, name="api.yaml")
    assert caught.value.where.file == "api.yaml"


def test_names_out_of_a_document_stay_data():
    """Whatever stands in a document, it comes out as one scalar or in one comment."""
    evil = "x\n  auth: {type: bearer}\n# \u2028\x07 {}: 'y' \\ \" é 😀"
    document = {
        "openapi": "3.0.0",
        "info": {"title": evil, "version": evil},
        "servers": [{"url": "https://api.example/" + evil}],
        "paths": {
            "/a b": {
                "get": {
                    "summary": evil,
                    "parameters": [{"name": evil, "in": "query", "required": True, "example": evil}],
                    "responses": {
                        "200": {
                            "content": {
                                "application/json": {
                                    "schema": {
                                        "properties": {
                                            evil: {"type": "array", "items": {"properties": {"id": {"type": "string"}}}}
                                        }
                                    }
                                }
                            }
                        }
                    },
                }
            }
        },
    }
    job = yaml.safe_load(draft(document))
    assert set(job) == {"connector", "target", "streams", "options"}
    assert set(job["options"]) == {"base_url", "resources"}
    (resource,) = job["options"]["resources"].values()
    assert resource["params"] == {evil: evil}
    assert resource["path"] == "/a b"
