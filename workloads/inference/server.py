"""A replica: the protocols that the recipe names, over one verified model, on one port."""

import signal
import ssl
import sys
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from workloads.inference.listening import listen
from workloads.inference.open_inference import OpenInference
from workloads.inference.requests import RequestError
from workloads.inference.served_model import ServedModel
from workloads.inference.watching import watched
from workloads.spec.errors import UserError
from workloads.spec.launch import ServeLaunch
from workloads.spec.recipe import TransformersModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.routing import Route
    from starlette.types import ASGIApp

DRAIN_S = 30  # for requests in flight when the replica is told to stop
CLIENT_CLOSED_REQUEST = 499
OPENAI_PREFIX = "/v1/"


def serve(launch: ServeLaunch) -> None:
    """Verify, load, listen and answer until SIGTERM; requests in flight are finished.

    Raises:
        UserError: the model is not the one that was signed, the credentials cannot be read, or the port is in use.
    """
    app = watched(build_app(launch, ServedModel(launch)), launch)
    config = _server_config(launch, app)
    sockets = [listen(launch.listen, launch.credentials)]
    if launch.health is not None:
        sockets.append(listen(launch.health, tells_health_alone=True))
    scheme = "http" if launch.credentials is None else "https"
    print(  # noqa: T201 - the interface of a command
        f"{launch.site}: {launch.recipe.name} version {launch.version} on {scheme}://{launch.listen}", flush=True
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn drains, then raises the signal again
    uvicorn.Server(config).run(sockets=sockets)


def build_app(launch: ServeLaunch, model: ServedModel) -> Starlette:
    """The replica as an ASGI application."""
    protocols = launch.recipe.serve.protocols
    routes: list[Route] = []
    if "open-inference-v2" in protocols:
        routes += OpenInference(model, launch.recipe.serve.max_request_bytes).routes()
    if "openai-completions" in protocols:
        kind = launch.recipe.model
        if not isinstance(kind, TransformersModel) or kind.auto != "causal-lm":
            raise UserError(f"recipe {launch.recipe.name}: only language models complete; drop openai-completions")
        from workloads.inference.completions import Completions  # noqa: PLC0415 - tables need no tokenizer

        routes += Completions(model, launch).routes()
    return Starlette(
        routes=routes,
        exception_handlers={
            RequestError: _client_mistake,
            HTTPException: _http_error,
            ClientDisconnect: _client_gone,
            Exception: _server_mistake,
        },
    )


def _server_config(launch: ServeLaunch, app: "ASGIApp") -> uvicorn.Config:
    tls: dict[str, Any] = {}
    if launch.credentials is not None:
        tls = {
            "ssl_certfile": launch.credentials.certificate,
            "ssl_keyfile": launch.credentials.key,
            "ssl_ca_certs": launch.credentials.ca,
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        }
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("x-served-by", launch.site)],
        timeout_graceful_shutdown=DRAIN_S,
        **tls,
    )
    try:
        config.load()
    except OSError as error:  # also what the ssl module raises
        reason = f"{launch.credentials}: {error}"
        raise UserError(f"credentials cannot be read, {reason}; run `make up` to renew them") from None
    return config


def _client_mistake(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    # Closing tells a client that is still sending a refused body to stop, and spares reading it.
    headers = {"connection": "close"} if error.status == 413 else None
    return _error_body(request, error.status, error.message, headers, param=error.field, code=error.code)


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    message = f"{request.method} {request.url.path}: {error.detail.lower()}"
    return _error_body(request, error.status_code, message, error.headers)


def _client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _server_mistake(request: Request, _error: Exception) -> Response:
    return _error_body(request, 500, "the replica failed; its log says why")


def _error_body(
    request: Request,
    status: int,
    message: str,
    headers: "Mapping[str, str] | None" = None,
    param: str | None = None,
    code: str | None = None,
) -> Response:
    """An error as the protocol of the path words it."""
    body: Any = {"error": message}
    if request.url.path.startswith(OPENAI_PREFIX):
        kind = "invalid_request_error" if status < 500 else "server_error"
        body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return JSONResponse(body, status_code=status, headers=headers)
