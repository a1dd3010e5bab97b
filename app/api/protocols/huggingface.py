"""Hugging Face's inference API: one route for every model whose task it has a name for. Knows pipelines, no network.

The shapes are those of `huggingface_hub.InferenceClient`. A single input is answered as there; a list of inputs is
answered by a list.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.api.problems import responses
from app.api.protocols.asked import Bearing, Call, refused, shaped
from app.errors import Conflict, Flaw, Invalid
from models import catalog

router = APIRouter(prefix="/hf", tags=["hugging face"])

TOP_SOUNDS = 5
"""Labels of a sound that are told, as by Hugging Face's own pipeline."""


class Closed(BaseModel):
    """A shape with no other fields."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Asked(Closed):
    """The body of every pipeline."""

    inputs: Any = Field(description="A text, an item of the model's task, base64 of a WAV file; or a list of them.")
    parameters: dict[str, Any] | None = None
    options: dict[str, Any] | None = Field(default=None, description="Of Hugging Face's own service; ignored.")


class Classifying(Closed):
    """Parameters of text and audio classification."""

    top_k: int | None = Field(None, ge=1, le=1000)
    function_to_apply: str | None = None

    @field_validator("function_to_apply")
    @classmethod
    def _calibrated(cls, name: str | None) -> str | None:
        if name not in (None, "softmax"):
            raise ValueError(f"the scores are calibrated probabilities that sum to 1: softmax, and not {name[:40]!r}")
        return name


class Tagging(Closed):
    """Parameters of token classification."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = None
    ignore_labels: list[str] | None = None
    stride: int | None = Field(None, description="Ignored: a text is read whole.")

    @field_validator("ignore_labels")
    @classmethod
    def _outside(cls, labels: list[str] | None) -> list[str] | None:
        if labels is not None and "O" not in labels:
            raise ValueError("what is no entity has no score here: leave 'O' among the labels that are ignored")
        return labels


class Generating(Closed):
    """How a translation is searched for."""

    num_beams: int | None = Field(default=None, ge=1, le=32)
    max_length: int | None = Field(default=None, ge=1, le=1000)
    max_new_tokens: int | None = Field(default=None, ge=1, le=1000)
    num_return_sequences: int | None = Field(default=None, ge=1, le=17)


class Translating(Generating):
    """Parameters of translation. A model translates one pair of languages: `src_lang` and `tgt_lang` change nothing,
    as with every model of one pair on Hugging Face."""

    generate_parameters: Generating | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None
    clean_up_tokenization_spaces: bool | None = None
    truncation: str | None = None

    @field_validator("truncation")
    @classmethod
    def _whole(cls, name: str | None) -> str | None:
        if name not in (None, "do_not_truncate"):
            raise ValueError(f"a text is translated whole or refused: do_not_truncate, and not {name[:40]!r}")
        return name

    @property
    def wanted(self) -> Generating:
        """What is asked for in either place."""
        inner = self.generate_parameters or Generating()
        return Generating.model_validate(
            {name: getattr(inner, name) or getattr(self, name) for name in Generating.model_fields}
        )


class LabelScore(BaseModel):
    """A label and its probability."""

    label: str
    score: float


class Entity(BaseModel):
    """An entity (`entity_group`), or one token of one (`entity`, `index` from 1)."""

    entity_group: str | None = None
    entity: str | None = None
    index: int | None = None
    score: float
    word: str
    start: int
    end: int


class Translated(BaseModel):
    """A translation."""

    translation_text: str


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What Hugging Face calls a task, for the models of one of ours."""

    parameters: type[Closed]
    item: Callable[[Any], Any]
    """One input as an item, to be checked."""
    params: Callable[[Any], dict[str, Any]]
    """Its parameters as those of our task."""
    said: Callable[[Any, Any, Any], Any]
    """The answer to one input, from its item, its output and the parameters."""
    wrapped: bool = False
    """Whether the answer to a single input is a list of one all the same."""
    bare: bool = False
    """Whether, among the answers to several inputs, a list of one stands as that one."""
    sound: bool = False
    """Whether a body that is no JSON is its input."""


def _labels(_: Any, output: Any, __: Classifying) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in output.scores.items()]


def _steps(value: Any) -> Any:
    """A text or a list as the steps of a sequence."""
    if isinstance(value, str):
        return {"tokens": value.split()}
    if isinstance(value, list):
        return {"tokens" if all(isinstance(step, str) for step in value) else "values": value}
    return value


def _entities(item: Any, output: Any, asked: Tagging) -> list[dict[str, Any]]:
    ignored = set(asked.ignore_labels or ())
    told = _tokens(item, output) if asked.aggregation_strategy == "none" else _groups(output)
    return [each for each in told if not ignored & {each.get("entity_group"), each.get("entity")}]


def _groups(output: Any) -> list[dict[str, Any]]:
    return [
        {"entity_group": e.label, "score": e.score, "word": e.text, "start": e.start, "end": e.end}
        for e in output.entities
    ]


def _tokens(item: Any, output: Any) -> list[dict[str, Any]]:
    """The tokens of each entity, which share its score."""
    text = item if isinstance(item, str) else item.text
    told, end, entities = [], 0, deque(output.entities)
    for index, (token, tag) in enumerate(zip(output.tokens, output.tags, strict=True)):
        start, end = (index, index + 1) if text is None else _place(text, token, end)
        if tag == "O":
            continue
        while entities[0].end <= start:
            entities.popleft()
        place = {"index": index + 1, "word": token, "start": start, "end": end}
        told.append({"entity": tag, "score": entities[0].score, **place})
    return told


def _place(text: str, token: str, after: int) -> tuple[int, int]:
    start = text.index(token, after)
    return start, start + len(token)


def _translations(_: Any, output: Any, asked: Translating) -> list[dict[str, str]]:
    found = [output, *output.alternatives][: asked.wanted.num_return_sequences or 1]
    return [{"translation_text": each.translation} for each in found]


def _searched(asked: Translating) -> dict[str, Any]:
    wanted = asked.wanted
    length = wanted.max_new_tokens or wanted.max_length
    return {"beam": wanted.num_beams, "max_length": length, "alternatives": (wanted.num_return_sequences or 1) - 1}


def _sounds(_: Any, output: Any, asked: Classifying) -> list[dict[str, Any]]:
    """What is heard, by its share of the time in which anything is; what is labelled throughout, if nothing is."""
    heard: Counter[str] = Counter()
    for phoneme in output.phonemes:
        heard[phoneme.label] += phoneme.end - phoneme.start
    heard = heard or Counter(output.frames)
    most = heard.most_common(asked.top_k or TOP_SOUNDS)
    return [{"label": label, "score": share / heard.total()} for label, share in most]


def _classifier(item: Callable[[Any], Any]) -> Pipeline:
    return Pipeline(
        parameters=Classifying, item=item, params=lambda asked: {"top_k": asked.top_k}, said=_labels, wrapped=True
    )


PIPELINES: dict[str, Pipeline] = {
    "sentiment": _classifier(lambda value: value),
    "sequences": _classifier(_steps),
    "actions": _classifier(lambda value: value),
    "ner": Pipeline(parameters=Tagging, item=lambda value: value, params=lambda _: {}, said=_entities),
    "translation": Pipeline(
        parameters=Translating, item=lambda value: value, params=_searched, said=_translations, bare=True
    ),
    "phonemes": Pipeline(
        parameters=Classifying,
        item=lambda value: value if isinstance(value, dict) else {"audio": value},
        params=lambda _: {},
        said=_sounds,
        sound=True,
    ),
}
"""text-classification, token-classification, translation and audio-classification, by our tasks."""

BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "additionalProperties": False,
                "properties": {
                    "inputs": {"description": Asked.model_fields["inputs"].description},
                    "parameters": {"type": ["object", "null"], "description": "Those of the pipeline."},
                    "options": {"type": ["object", "null"], "description": Asked.model_fields["options"].description},
                },
            },
            "examples": {
                "text-classification": {"value": {"inputs": "I loved this movie!"}},
                "token-classification": {
                    "value": {
                        "inputs": "Emma works for Google in London.",
                        "parameters": {"aggregation_strategy": "simple"},
                    }
                },
                "translation": {"value": {"inputs": "where is my book ?"}},
            },
        },
        "audio/wav": {"schema": {"type": "string", "format": "binary"}},
    },
}


@router.post(
    "/{ref}",
    response_model=list[list[LabelScore]] | list[LabelScore] | list[Entity] | list[list[Entity]] | list[Translated],
    responses=responses(404, 409, 504, under="/hf"),
    openapi_extra={"requestBody": BODY},
)
async def infer(ref: str, call: Bearing) -> Response:
    """Hugging Face's pipelines: text, token and audio classification, and translation, by what the model was taught."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = kind.startswith("audio/") or (await call.request.body()).lstrip()[:1] != b"{"
    asked = None if raw else await call.read(shaped(Asked))
    return await call.answer(_inferred(ref, call, asked))


async def _inferred(ref: str, call: Call, asked: Asked | None) -> Response:
    task = (await call.served(ref)).version.task
    pipeline = PIPELINES.get(task)
    if pipeline is None:
        raise Conflict(f"the model '{ref}' is for {task}, which Hugging Face has no pipeline for; POST /v1/{task}")
    if asked is None and not pipeline.sound:
        raise RequestValidationError([{"type": "json_invalid", "loc": ("body",), "msg": "an object is expected"}])
    options, items = await call.read(lambda sent: _parsed(task, pipeline, asked or Asked(inputs=sent)))
    outputs = await call.outputs(task, items, model=ref, params=pipeline.params(options))
    told = [pipeline.said(item, output, options) for item, output in zip(items, outputs, strict=True)]
    several = asked is not None and isinstance(asked.inputs, list)
    return Response(orjson.dumps(_whole(pipeline, told, several=several)), media_type="application/json")


def _parsed(task: str, pipeline: Pipeline, asked: Asked) -> tuple[Any, list[Any]]:
    """Parameters and items. Raises `RequestValidationError` or `Invalid` with the place of the first fault."""
    try:
        options = pipeline.parameters.model_validate(asked.parameters or {})
    except ValidationError as error:
        raise refused(error, "body", "parameters", body={"parameters": asked.parameters}) from None
    several = isinstance(asked.inputs, list)
    inputs: Sequence[Any] = asked.inputs if several else [asked.inputs]
    if not inputs:
        raise Invalid("no input was sent", errors=[Flaw(detail="it is empty", pointer="/inputs")])
    card, items = catalog.card(task), []
    for index, value in enumerate(inputs):
        try:
            items.append(card.parse_item(pipeline.item(value)))
        except ValidationError as error:
            place = ("body", "inputs", index) if several else ("body", "inputs")
            raise refused(error, *place, body={"inputs": inputs if several else value}) from None
    return options, items


def _whole(pipeline: Pipeline, told: list[Any], *, several: bool) -> Any:
    """The answer to all inputs."""
    if not several:
        return told if pipeline.wrapped else told[0]
    return [each[0] for each in told] if pipeline.bare and all(len(each) == 1 for each in told) else told
