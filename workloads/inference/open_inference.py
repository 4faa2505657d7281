"""The Open Inference Protocol v2 over HTTP with JSON tensors (KServe's `predict-v2` REST interface)."""

from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workloads.inference.requests import RequestError, parse_body
from workloads.inference.served_model import ServedModel, TensorSpec, probabilities
from workloads.inference.tensors import InferRequest, read_input, select_outputs, write_output


class OpenInference:
    """Health, metadata and inference of one model."""

    def __init__(self, model: ServedModel, max_request_bytes: int) -> None:
        self._model = model
        self._max_request_bytes = max_request_bytes

    def routes(self) -> list[Route]:
        """All endpoints; those of the model are there with and without its version."""
        of_model = [("/infer", self._infer, "POST"), ("/ready", self._model_ready, "GET"), ("", self._metadata, "GET")]
        return [
            Route("/v2", self._server, methods=["GET"]),
            Route("/v2/health/live", self._live, methods=["GET"]),
            Route("/v2/health/ready", self._ready, methods=["GET"]),
            *(
                Route(f"/v2/models/{{name}}{versioned}{path}", endpoint, methods=[method])
                for versioned in ("", "/versions/{version}")
                for path, endpoint, method in of_model
            ),
        ]

    async def _server(self, _request: Request) -> Response:
        return JSONResponse({"name": "isthmus", "version": _server_version(), "extensions": []})

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _request: Request) -> Response:
        return JSONResponse({"ready": True})  # the socket is open only after the model was verified and loaded

    async def _model_ready(self, request: Request) -> Response:
        self._check_model(request)
        return JSONResponse({"name": self._model.name, "ready": True})

    async def _metadata(self, request: Request) -> Response:
        self._check_model(request)
        model = self._model
        return JSONResponse(
            {
                "name": model.name,
                "versions": [model.version],
                "platform": "onnx_onnxruntime",
                "inputs": [self._described(model.input)],
                "outputs": [self._described(output) for output in model.outputs],
            }
        )

    async def _infer(self, request: Request) -> Response:
        self._check_model(request)
        model = self._model
        message = await parse_body(request, InferRequest, self._max_request_bytes)
        wanted = select_outputs(message, model)
        logits = await model.logits(read_input(message, model))
        outputs = [self._output(spec, logits) for spec in wanted]
        answer: dict[str, JsonValue] = {"model_name": model.name, "model_version": model.version}
        if message.id is not None:
            answer["id"] = message.id
        if message.parameters is not None:
            answer["parameters"] = message.parameters
        return JSONResponse({**answer, "outputs": outputs})

    def _output(self, spec: TensorSpec, logits: NDArray[np.float32]) -> dict[str, JsonValue]:
        if spec.name == "label":
            return write_output(spec, logits.shape[:1], self._model.labels(logits))
        values = probabilities(logits) if spec.name == "probabilities" else logits
        return write_output(spec, values.shape, values.ravel().tolist())

    def _described(self, spec: TensorSpec) -> dict[str, JsonValue]:
        described: dict[str, JsonValue] = {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
        if spec.name in {"label", "probabilities"}:
            described["parameters"] = {"classes": list(self._model.classes)}
        return described

    def _check_model(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", self._model.version)
        if (name, version) != (self._model.name, self._model.version):
            raise RequestError(
                404,
                f"model {name!r} version {version!r} is not here; served: {self._model.name!r} {self._model.version!r}",
            )


def _server_version() -> str:
    try:
        return version("isthmus")
    except PackageNotFoundError:
        return "0"  # run from a checkout that is not installed
