"""What a replica tells whoever watches it: requests as metrics for Prometheus, and health apart from its service.

Health and metrics have a port of their own, in plain text and without anything of the model: the service's port may be
one that only a mesh's proxy reaches.
"""

import time
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workloads.spec.base import Endpoint
from workloads.spec.launch import ServeLaunch

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LABELS = ("site", "model", "version")


class Requests:
    """Metrics of the requests that one replica answers. A streamed answer is in flight until its last piece is out."""

    def __init__(self, launch: ServeLaunch) -> None:
        self.registry = CollectorRegistry()
        self._labels = (launch.site, launch.recipe.name, launch.version or "")
        self._in_flight = Gauge(
            "isthmus_inference_requests_in_flight",
            "Requests being answered.",
            _LABELS,
            registry=self.registry,
        ).labels(*self._labels)
        self._seconds = Histogram(
            "isthmus_inference_request_seconds",
            "Time from a request's head to the end of its answer.",
            _LABELS,
            registry=self.registry,
            buckets=_SECONDS,
        ).labels(*self._labels)
        self._answered = Counter(
            "isthmus_inference_requests",
            "Requests answered, by the class of their status.",
            (*_LABELS, "status"),
            registry=self.registry,
        )

    async def measure(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have `app` answer a request."""
        status = 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        self._in_flight.inc()
        try:
            await app(scope, receive, note)
        finally:
            self._in_flight.dec()
            self._seconds.observe(time.perf_counter() - started)
            self._answered.labels(*self._labels, f"{status // 100}xx").inc()


def watched(app: ASGIApp, launch: ServeLaunch) -> ASGIApp:
    """`app`, measured; at the port of `launch.health` nothing but health and metrics, and neither of them elsewhere."""
    requests = Requests(launch)
    health = _health_app(requests.registry)
    is_health = _arrives_at(launch.health)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if is_health(scope):
            await health(scope, receive, send)
        else:
            await requests.measure(app, scope, receive, send)

    return answer


def _arrives_at(endpoint: Endpoint | None) -> Callable[[Scope], bool]:
    """Whether a connection came to that port of this machine: what the kernel says, not what a request claims."""
    if endpoint is None:
        return lambda _: False
    return lambda scope: (scope.get("server") or (None, None))[1] == endpoint.port


def _health_app(registry: CollectorRegistry) -> Starlette:
    async def live(_request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_request: Request) -> Response:
        return JSONResponse({"ready": True})  # the sockets are open only after the model was verified and loaded

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/v2/health/live", live, methods=["GET"]),
            Route("/v2/health/ready", ready, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
        ]
    )
