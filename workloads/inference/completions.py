"""OpenAI's completions protocol over one causal language model: `POST /v1/completions` and `GET /v1/models`."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tokenizers import Tokenizer

from workloads.inference.generation import Marks, Sampling, TextStream, generate
from workloads.inference.requests import RequestError, parse_body
from workloads.inference.served_model import ServedModel
from workloads.spec.launch import ServeLaunch
from workloads.trainer.tokenizer import TOKENIZER

DEFAULT_MAX_TOKENS = 16  # the protocol's
Neutral = Annotated[float, Field(ge=0, le=0)]  # a knob that is not here, at the value where it does nothing


class StreamOptions(BaseModel):
    """`stream_options`: whether the last chunk tells the usage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    include_usage: bool = False


class CompletionRequest(BaseModel):
    """Body of `POST /v1/completions`. Fields below `user` are accepted only where they ask for nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    prompt: str | Annotated[list[str], Field(min_length=1)]
    max_tokens: PositiveInt | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    echo: bool = False
    user: str | None = None
    n: Literal[1] = 1
    best_of: Literal[1] = 1
    logprobs: None = None
    suffix: None = None
    presence_penalty: Neutral = 0.0
    frequency_penalty: Neutral = 0.0

    @property
    def prompts(self) -> list[str]:
        """The prompts, one or many."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def stops(self) -> list[str]:
        """The stop sequences that are not empty."""
        return [stop for stop in ([self.stop] if isinstance(self.stop, str) else self.stop or []) if stop]


@dataclass(frozen=True)
class _Piece:
    """A part of one choice's text; the last part of a choice says why it is the last."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None = None


class _Completion:
    """One request being answered: its pieces of text in order, and what it has used so far."""

    def __init__(self, message: CompletionRequest, model: ServedModel, tokenizer: Tokenizer, marks: Marks) -> None:
        self._message = message
        self._model = model
        self._tokenizer = tokenizer
        self._marks = marks
        self._prompts = [tokenizer.encode(prompt).ids for prompt in message.prompts]
        self._head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time())}
        self._generated = 0
        if len(self._prompts) > model.max_batch:
            raise RequestError(
                400, f"{len(self._prompts)} prompts are too many; the limit is {model.max_batch}", field="prompt"
            )
        longest = max(map(len, self._prompts))
        wanted = message.max_tokens or 1
        if longest + wanted > model.context:
            raise RequestError(
                400,
                f"the model's context is {model.context} tokens, but {longest} of prompt and {wanted} of completion "
                f"make {longest + wanted}; shorten the prompt or lower max_tokens",
                field="prompt",
                code="context_length_exceeded",
            )

    async def pieces(self) -> AsyncIterator[_Piece]:
        """Text of each choice in turn, as soon as it is certain."""
        message = self._message
        sampling = Sampling(message.temperature, message.top_p, message.seed)
        for index, (prompt, tokens) in enumerate(zip(message.prompts, self._prompts, strict=True)):
            if message.echo:
                yield _Piece(index, prompt)
            limit = message.max_tokens or min(DEFAULT_MAX_TOKENS, self._model.context - len(tokens))
            text = TextStream(self._tokenizer, message.stops)
            count = 0
            async for token in generate(self._model, self._marks, tokens, limit, sampling):
                count += 1
                self._generated += 1
                if piece := text.push(token):
                    yield _Piece(index, piece)
                if text.stopped:
                    break
            yield _Piece(index, text.rest(), "length" if count == limit and not text.stopped else "stop")

    async def whole(self, request: Request) -> Response:
        """The answer in one piece. Generation ends when the client has gone."""
        texts = [""] * len(self._prompts)
        reasons: list[str | None] = [None] * len(self._prompts)
        async for piece in self.pieces():
            if await request.is_disconnected():
                raise ClientDisconnect
            texts[piece.index] += piece.text
            reasons[piece.index] = piece.finish_reason
        choices = [_choice(index, text, reasons[index]) for index, text in enumerate(texts)]
        return JSONResponse(self._chunk(choices) | {"usage": self._usage()})

    async def events(self) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        async for piece in self.pieces():
            yield _event(self._chunk([_choice(piece.index, piece.text, piece.finish_reason)]))
        options = self._message.stream_options
        if options is not None and options.include_usage:
            yield _event(self._chunk([]) | {"usage": self._usage()})
        yield "data: [DONE]\n\n"

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._head | {"model": self._model.name, "choices": choices}

    def _usage(self) -> dict[str, int]:
        prompt = sum(map(len, self._prompts))
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._generated,
            "total_tokens": prompt + self._generated,
        }


class Completions:
    """The endpoints."""

    def __init__(self, model: ServedModel, launch: ServeLaunch) -> None:
        self._model = model
        self._max_request_bytes = launch.recipe.serve.max_request_bytes
        self._tokenizer = load_tokenizer(launch.model)
        self._marks = Marks.of(self._tokenizer, launch.model)
        self._card = {"id": model.name, "object": "model", "created": int(time.time()), "owned_by": "isthmus"}

    def routes(self) -> list[Route]:
        """All endpoints."""
        return [
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/models/{name}", self._one_model, methods=["GET"]),
            Route("/v1/completions", self._complete, methods=["POST"]),
        ]

    async def _models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card]})

    async def _one_model(self, request: Request) -> Response:
        self._check_model(request.path_params["name"])
        return JSONResponse(self._card)

    async def _complete(self, request: Request) -> Response:
        message = await parse_body(request, CompletionRequest, self._max_request_bytes)
        self._check_model(message.model)
        completion = _Completion(message, self._model, self._tokenizer, self._marks)
        if message.stream:
            return StreamingResponse(completion.events(), media_type="text/event-stream")
        return await completion.whole(request)

    def _check_model(self, name: str) -> None:
        if name != self._model.name:
            raise RequestError(
                404,
                f"model {name!r} is not here; served: {self._model.name!r}",
                field="model",
                code="model_not_found",
            )


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a model's folder. Text that spells a mark's name stays text."""
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.encode_special_tokens = True
    return tokenizer


def _choice(index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"
