"""How requests for files show who asks: by the ways of the rest connector that need no server of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from lakecat.errors import ConfigError
from lakecat_connectors._options import HttpSignIn
from lakecat_connectors._rest_auth import fixed_proof
from lakecat_connectors._rest_options import ApiKey, Basic, Bearer, Headers
from lakecat_connectors._rest_secrets import Secrets, sound

_WAYS: Final[TypeAdapter[Basic | Bearer | ApiKey]] = TypeAdapter(
    Annotated[Basic | Bearer | ApiKey, Field(discriminator="type")]
)
_HEADERS: Final[TypeAdapter[Headers]] = TypeAdapter(Headers)


def sign_in_headers(said: HttpSignIn, secret: Callable[[str], str]) -> Mapping[str, str]:
    """The headers of requests to the servers that a job names. Raises ConfigError."""
    try:
        auth = None if said.auth is None else _WAYS.validate_python(said.auth)
        headers = _HEADERS.validate_python(said.headers)
    except ValidationError as err:
        raise _refused(err) from None
    if isinstance(auth, ApiKey) and auth.place == "query":
        raise ConfigError(
            "files connector: option 'http': a key in the query would stand in every record of the file",
            hint="write in: header",
        )
    secrets = Secrets(secret)
    own = {name.lower(): secrets.maybe(text) for name, text in headers.items()}
    return sound(own if auth is None else {**own, **fixed_proof(auth, secrets).headers})


def _refused(err: ValidationError) -> ConfigError:
    first: Any = err.errors(include_url=False, include_input=False)[0]
    if first["type"].startswith("union_tag"):
        return ConfigError(
            "files connector: option 'http': this type of auth is not known here",
            hint="say type: basic, bearer or api_key; what needs a server of tokens, the rest connector reads",
        )
    place = ".".join(str(part) for part in first["loc"][1:]) or "headers"
    return ConfigError(f"files connector: option 'http': {place}: {first['msg'].removeprefix('Value error, ')}")
