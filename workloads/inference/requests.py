"""What every endpoint does with a request's body: bound it, read it, parse it, and say what is wrong with it."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from workloads.spec.errors import explain

Body = TypeVar("Body", bound=BaseModel)


class RequestError(Exception):
    """What a client can mend: HTTP status, one line with the value and the limit, and the field if it is one."""

    def __init__(self, status: int, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field
        self.code = code


async def parse_body(request: Request, schema: type[Body], limit: int) -> Body:
    """The request's JSON body as `schema`.

    Raises:
        RequestError: the body is longer than `limit` bytes (413, before the rest of it is read), is not JSON, or does
            not fit the schema (400).
    """
    raw = await _read(request, limit)
    try:
        document = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(400, f"the body is not JSON: {error}") from None
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["loc"]
        raise RequestError(400, explain(error, "request"), field=str(first[0]) if first else None) from None


async def _read(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_long(f"{announced} bytes", limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_long(f"more than {limit} bytes", limit)
    return bytes(body)


def _too_long(length: str, limit: int) -> RequestError:
    return RequestError(413, f"the body has {length}; the limit is {limit}; send fewer rows or less text")
