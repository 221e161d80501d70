"""The rest connector's options: validated once, strictly, with errors that name the option."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from lakecat.connector.options import did_you_mean
from lakecat.errors import ConfigError
from lakecat.types import Json
from lakecat_connectors._rest_paths import path_to

PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
REFERENCE: Final = re.compile(r"(env|file):(?!//).+")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING: Final = ("content-length", "transfer-encoding")
_M = TypeVar("_M", bound=BaseModel)


def _path(value: str) -> str:
    try:
        jmespath.compile(value)
    except JMESPathError as err:
        raise ValueError(f"{value!r} is no JMESPath expression: {str(err).splitlines()[0]}") from None
    return value


def _typed(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


def _attempts(value: object) -> object:
    return {"attempts": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _seconds(value: object) -> object:
    return {"read": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


def _certificate(value: object) -> object:
    return {"certificate": value} if isinstance(value, str) else value


def _proxy(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _reference(value: str) -> str:
    if not REFERENCE.fullmatch(value):
        raise ValueError("must be given by reference: env:NAME or file:PATH")  # never with the text
    return value


def _sound_headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not _TOKEN.fullmatch(name) or not text.isascii() or any(ord(character) < 32 for character in text):
            raise ValueError(f"{name!r} is no sound HTTP header")
        if name.lower() in _FRAMING:
            raise ValueError(f"{name!r} follows from the request, and cannot be set")
    return value


def _sound_params(value: dict[str, Any]) -> dict[str, Any]:
    for name, one in value.items():
        parts = one if isinstance(one, list) else [one]
        if not all(part is None or isinstance(part, str | int | float) for part in parts):
            raise ValueError(f"{name!r} must be a text, a number, true, false or a list of those")
    return value


Headers = Annotated[dict[str, str], AfterValidator(_sound_headers)]
Params = Annotated[dict[str, Any], AfterValidator(_sound_params)]
JmesPath = Annotated[str, AfterValidator(_path)]
SecretText = Annotated[str, AfterValidator(_reference)]
"""A secret, by reference."""


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Basic(_Keys):
    """RFC 7617. The user name may be a reference, the password must be."""

    type: Literal["basic"]
    username: str
    password: SecretText


class Bearer(_Keys):
    """RFC 6750: a token in the Authorization header."""

    type: Literal["bearer"]
    token: SecretText


class ApiKey(_Keys):
    """A key in a header, a query parameter or a cookie. ``prefix`` stands before it."""

    type: Literal["api_key"]
    name: str
    value: SecretText
    place: Literal["header", "query", "cookie"] = Field(default="header", alias="in")
    prefix: str = ""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.place == "header":
            _sound_headers({self.name: self.prefix})
        if self.place == "cookie" and not _TOKEN.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a cookie")
        return self


class ClientCredentials(_Keys):
    """RFC 6749, section 4.4. ``client_auth``: where the client's secret goes in the token request."""

    type: Literal["oauth2_client_credentials"]
    token_url: str
    client_id: str
    client_secret: SecretText
    scope: str | None = None
    audience: str | None = None
    client_auth: Literal["basic", "body"] = "basic"


class Refresh(_Keys):
    """RFC 6749, section 6: access tokens from a long-lived refresh token.

    ``write_back``: the token's file is replaced when the server gives a new refresh token for the old one.
    """

    type: Literal["oauth2_refresh"]
    token_url: str
    client_id: str
    client_secret: SecretText | None = None
    refresh_token: SecretText
    write_back: bool = False
    scope: str | None = None
    client_auth: Literal["basic", "body"] = "basic"

    @model_validator(mode="after")
    def _writable(self) -> Self:
        if self.write_back and not self.refresh_token.startswith("file:"):
            raise ValueError("write_back needs a file that can be replaced: refresh_token: file:PATH")
        return self


Auth = Annotated[Basic | Bearer | ApiKey | ClientCredentials | Refresh, Field(discriminator="type")]
Place = Literal["query", "body"]


class Auto(_Keys):
    """Found out from the first answer; see ``_rest_detect``."""

    type: Literal["auto"] = "auto"


class Single(_Keys):
    """One answer holds everything."""

    type: Literal["single"]


class LinkHeader(_Keys):
    """RFC 8288: ``Link: <…>; rel="next"``."""

    type: Literal["link_header"]
    rel: str = "next"


class NextUrl(_Keys):
    """The next page's URL stands in the body; null, empty or absent: the end."""

    type: Literal["next_url"]
    path: JmesPath
    has_more_path: JmesPath | None = None


class _Counted(_Keys):
    """What offsets and page numbers have in common.

    ``total_path``: how many rows there are. ``maximum``: of rows (offset) or the last page; nothing is asked beyond.
    ``end_statuses``: HTTP statuses with which the API answers beyond the last page.
    """

    place: Place = Field(default="query", alias="in")
    total_path: JmesPath | None = None
    has_more_path: JmesPath | None = None
    maximum: int | None = Field(default=None, ge=0)
    end_statuses: list[Annotated[int, Field(ge=400, le=499)]] = []


class Offset(_Counted):
    """Counts rows. The offset grows by the rows that came, also where the API gives fewer than asked."""

    type: Literal["offset"]
    offset_param: str = "offset"
    limit_param: str | None = "limit"
    limit: int | None = Field(default=100, gt=0)
    start: int = Field(default=0, ge=0)


class PageNumber(_Counted):
    """Counts pages."""

    type: Literal["page"]
    page_param: str = "page"
    size_param: str | None = None
    size: int | None = Field(default=None, gt=0)
    start: int = Field(default=1, ge=0)
    total_pages_path: JmesPath | None = None


class CursorToken(_Keys):
    """A token of the answer (``path``), or a field of its last row (``last_row``), goes into the next request."""

    type: Literal["cursor"]
    path: JmesPath | None = None
    last_row: JmesPath | None = None
    param: str
    place: Place = Field(default="query", alias="in")
    has_more_path: JmesPath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.last_row is None):
            raise ValueError("needs either path (a token of the answer) or last_row (a field of the last row)")
        return self


Paginator = Annotated[
    Annotated[Auto | Single | LinkHeader | NextUrl | Offset | PageNumber | CursorToken, Field(discriminator="type")],
    BeforeValidator(_typed),
]


class Incremental(_Keys):
    """How the API is asked for what is new only. Without ``param`` everything is asked for, and compared here."""

    param: str | None = None
    end_param: str | None = None
    place: Place = Field(default="query", alias="in")
    format: str | None = None
    path: JmesPath | None = None
    type: Literal["auto", "number", "date", "timestamp", "epoch_seconds", "epoch_milliseconds", "text"] = "auto"
    boundary: Literal["inclusive", "exclusive"] | None = None
    order: Literal["ascending", "descending"] | None = None
    went_back: Literal["error", "ignore"] = "error"

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        if value is not None and value not in ("iso", "date", "epoch_seconds", "epoch_milliseconds"):
            if "%" not in value:
                raise ValueError("is iso, date, epoch_seconds, epoch_milliseconds or a strftime format with %")
            if "%z" in value.lower():
                raise ValueError("times are written in UTC: write Z instead of %z")
        return value


class Parent(_Keys):
    """``params``: for each placeholder of the path, the field of the parent's row that fills it."""

    resource: str
    params: dict[str, JmesPath]
    missing: Literal["error", "skip"] = "error"


class Resource(_Keys):
    """One endpoint, which is one stream."""

    path: str
    method: Literal["GET", "POST"] = "GET"
    params: Params = {}
    headers: Headers = {}
    form: Params | None = None
    body: dict[str, Any] | None = Field(default=None, alias="json")
    data_path: JmesPath | None = None
    error_path: JmesPath | Literal[False] | None = None
    paginator: Paginator | None = None
    primary_key: Annotated[list[str], BeforeValidator(_listed)] = []
    incremental: Incremental | None = None
    parent: Parent | None = None
    include_from_parent: list[str] | dict[str, JmesPath] = []
    idempotent: bool | None = None
    empty: Literal["keep", "error", "load"] = "keep"
    allow_repeats: bool = False
    description: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.body is not None or self.form is not None) and self.method == "GET":
            raise ValueError(f"{'json' if self.form is None else 'form'} needs method: POST")
        if self.body is not None and self.form is not None:
            raise ValueError("json and form are two bodies; say one")
        named = set(PLACEHOLDER.findall(self.path)).union(*map(placeholders, (self.params, self.body, self.form)))
        given = set() if self.parent is None else set(self.parent.params)
        if missing := sorted(named - given):
            raise ValueError(f"nothing fills {{{missing[0]}}}; say it under parent: params:")
        if unused := sorted(given - named):
            raise ValueError(f"parent.params.{unused[0]} is used nowhere; write {{{unused[0]}}} into the path")
        if self.include_from_parent and self.parent is None:
            raise ValueError("include_from_parent needs parent")
        return self

    @property
    def safe(self) -> bool:
        """Whether asking twice does no harm (RFC 9110, section 9.2.1), by the method or as declared."""
        return self.method == "GET" if self.idempotent is None else self.idempotent

    @property
    def from_parent(self) -> Mapping[str, str]:
        """Columns that come from the parent's row, and the path of each there."""
        if isinstance(self.include_from_parent, dict):
            return self.include_from_parent
        prefix = "" if self.parent is None else f"{self.parent.resource}_"
        return {f"{prefix}{name}": path_to(name) for name in self.include_from_parent}


class Proxy(_Keys):
    """``url``: of an HTTP proxy, or ``environment``: as HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say."""

    url: str
    username: str | None = None
    password: SecretText | None = None

    @model_validator(mode="after")
    def _bare(self) -> Self:
        if "@" in self.url:
            raise ValueError("url holds a user or password; say username: and password:")
        if self.username is None and self.password is not None:
            raise ValueError("password needs username")
        if self.url == "environment" and self.username is not None:
            raise ValueError("environment has its own username and password")
        return self


class ClientCertificate(_Keys):
    """PEM files, relative to the project. ``key`` may stand in the same file as the certificate."""

    certificate: str
    key: str | None = None
    password: SecretText | None = None


class Timeouts(_Keys):
    """Seconds. ``read``: between two pieces of an answer; ``total``: for a whole answer."""

    connect: float = Field(default=10, gt=0, le=600)
    read: float = Field(default=60, gt=0, le=3600)
    total: float = Field(default=300, gt=0, le=86_400)


class RateLimit(_Keys):
    """At most so many requests in so many seconds."""

    requests: int = Field(gt=0)
    seconds: float = Field(default=1, gt=0, le=86_400)


class Retries(_Keys):
    """``attempts`` in all; ``max_wait``: seconds before one of them, longer ones that the API asks for are errors."""

    attempts: int = Field(default=5, ge=1, le=20)
    max_wait: float = Field(default=300, ge=0, le=86_400)
    first_wait: float = Field(default=1, gt=0, le=600)
    statuses: list[Annotated[int, Field(ge=202, le=599)]] = [202, 408, 425, 429, 500, 502, 503, 504]


class RestOptions(_Keys):
    """What a job may say to the rest connector."""

    base_url: str
    resources: dict[str, Resource] = Field(min_length=1)
    auth: Auth | None = None
    headers: Headers = {}
    params: Params = {}
    paginator: Paginator = Auto()
    error_path: JmesPath | Literal[False] | None = None
    timeout: Annotated[Timeouts, BeforeValidator(_seconds)] = Timeouts()
    rate_limit: RateLimit | None = None
    retries: Annotated[Retries, BeforeValidator(_attempts)] = Retries()
    allow_private: bool = False
    allowed_hosts: list[str] = []
    ca_certificate: str | None = None
    client_certificate: Annotated[ClientCertificate | None, BeforeValidator(_certificate)] = None
    proxy: Annotated[Proxy | None, BeforeValidator(_proxy)] = None
    max_pages: int = Field(default=10_000, gt=0)
    max_response_bytes: int = Field(default=64 << 20, ge=1024, le=1 << 30)
    missing_columns: Literal["error", "null"] = "null"

    @property
    def holds_secrets(self) -> bool:
        """Whether requests carry what nobody on the way may see."""
        said: list[object] = [self.headers, self.params]
        for one in self.resources.values():
            said += [one.headers, one.params, one.form, one.body]
        return self.auth is not None or any(map(REFERENCE.fullmatch, texts_in(said)))

    @model_validator(mode="after")
    def _parents_are_there(self) -> Self:
        for name, resource in self.resources.items():
            seen, parent = [name], resource.parent
            while parent is not None:
                above = parent.resource
                if above not in self.resources:
                    raise ValueError(f"resources.{name}: the parent {above!r} is no resource")
                if above in seen:
                    raise ValueError(f"resources.{name}: its parents go in a circle: {' > '.join([*seen, above])}")
                seen.append(above)
                parent = self.resources[above].parent
        return self


def placeholders(value: object) -> set[str]:
    """The names in braces in all texts of a JSON value; a text that is nothing else, or a part of one."""
    return {name for text in texts_in(value) for name in PLACEHOLDER.findall(text)}


def texts_in(value: object) -> Iterator[str]:
    """All texts of a JSON value but its keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(part)


def parse_options(options: Mapping[str, Json]) -> RestOptions:
    """Validate a job's options. Raises ConfigError naming the first option that is wrong."""
    return _validated(RestOptions, options)


def resource_with(resource: Resource, own: Mapping[str, Json]) -> Resource:
    """A resource with what a job says of its stream alone. Raises ConfigError."""
    if not own:
        return resource
    said = resource.model_dump(by_alias=True, exclude_unset=True)
    return _validated(Resource, {**said, **own})


def _validated(model: type[_M], options: Mapping[str, Any]) -> _M:
    try:
        return model.model_validate(dict(options))
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        raise _config_error(model, first["loc"], first["type"], first["msg"]) from None


def _config_error(model: type[BaseModel], place: tuple[int | str, ...], kind: str, message: str) -> ConfigError:
    name = ".".join(str(part) for part in place if part not in ("function-after", "constrained-str"))
    if kind == "extra_forbidden":
        known = sorted(_known(model, place[:-1]))
        hint = did_you_mean(str(place[-1]), known) or (f"there are {', '.join(known)}" if known else None)
        return ConfigError(f"rest connector: unknown option {name!r}", hint=hint)
    if kind == "missing":
        return ConfigError(f"rest connector: option {name!r} is missing", hint="see docs/connectors-rest.md")
    reason = message.removeprefix("Value error, ")
    return ConfigError(f"rest connector: option {name!r}: {reason}" if name else f"rest connector: {reason}")


def _known(model: type[BaseModel], place: tuple[int | str, ...]) -> set[str]:
    """The keys that may stand at a place; none where that is not clear."""
    if not place:
        return {field.alias or name for name, field in model.model_fields.items()}
    if model is RestOptions and place[0] == "resources" and len(place) == 2:
        return _known(Resource, ())
    return set()
