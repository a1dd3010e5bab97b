"""LibreTranslate's API: texts in one language to texts in another, by the model whose name says the pair.

Which model translates which pair is read from names and aliases (`languages.pair`). The task's default model answers
every other pair if nothing says its own. Knows texts, no network.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from app.api.deps import Use
from app.api.problems import responses
from app.api.protocols.asked import Call, Deadline, called, refused, shaped
from app.api.protocols.languages import Pair, code, named, pair, written
from app.api.protocols.sentences import Text, cut
from app.errors import Full, Invalid, NotFound, TooLarge
from app.services.promotion import PRODUCTION

log = structlog.get_logger("cellgate.api")

TASK = "translation"
FRESH = 1.0
"""Seconds for which names and aliases are not looked up again."""
LONGEST = 100_000
"""Characters of a request at most."""
UNKNOWN = "und"
"""The language of whatever the default model translates, where nothing says it (ISO 639-2)."""


class Asked(BaseModel):
    """What is to be translated. Other fields are ignored, as LibreTranslate does."""

    q: str | list[str] | None = Field(None, description="A text or several.")
    source: str | None = Field(None, description="Code of its language, or `auto`.")
    target: str | None = Field(None, description="Code of the language that is wanted.")
    format: str | None = Field(None, description="`text` or `html`, whose tags stay as they are.")
    alternatives: int | None = Field(None, ge=0, le=16, description="Further translations; perhaps fewer.")
    api_key: str | None = Field(None, description="A key of this service, where no header brings one.")


class Detected(BaseModel):
    """The language that a text was taken to be in."""

    confidence: float = Field(description="100: the one language that the target is translated from; 0: not known.")
    language: str


class Answered(BaseModel):
    """The translation of a text, or of each."""

    translatedText: str | list[str]  # noqa: N815  the protocol's own name
    alternatives: list[str] | list[list[str]] | None = None
    detectedLanguage: Detected | list[Detected] | None = None  # noqa: N815


class Language(BaseModel):
    """A language, and those it is translated to."""

    code: str
    name: str
    targets: list[str]


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Who translates what."""

    models: Mapping[Pair, str]
    """Reference of the model of each pair."""
    otherwise: str | None
    """The default model, if nothing says which pair it translates."""

    @property
    def languages(self) -> list[str]:
        """Every language of a pair."""
        return sorted({language for each in self.models for language in each})

    def model(self, source: str, target: str) -> str | None:
        """The model for a pair; None where both are the same. Raises `Invalid`, `NotFound`."""
        found = self.models.get((source, target), self.otherwise if source != target else None)
        if found is not None:
            return found
        if not self.models and self.otherwise is None:
            raise NotFound("no model answers for translation yet; train one, and name it by its languages: en-de")
        for language in (source, target):
            if language not in self.languages and (self.otherwise is None or source != target):
                raise Invalid(f"{code(language)[:40]} is not supported")
        if source == target:
            return None
        to, of = (f"{named(language)} ({code(language)})" for language in (target, source))
        raise Invalid(f"{to} is not available as a target language from {of}")

    def detected(self, target: str) -> Detected:
        """The one language that a target is translated from. Raises `Invalid` where there are several, or none."""
        sources = sorted(source for source, to in self.models if to == target)
        if len(sources) == 1:
            return Detected(confidence=100.0, language=code(sources[0]))
        if not sources and self.otherwise is not None:
            return Detected(confidence=0.0, language=UNKNOWN)
        if not sources:
            self.model(UNKNOWN, target)  # says what is missing
        several = ", ".join(map(code, sources))
        raise Invalid(f"languages are not told apart here: {code(target)} is translated from {several}; name `source`")


@dataclass
class Known:
    """The directions there are, as of a moment ago."""

    found: Directions = field(default_factory=lambda: Directions(models={}, otherwise=None))
    until: float = 0.0

    async def now(self, use: Any) -> Directions:
        """What names and aliases say; what they said last, while the database is away. Raises `Full` before that."""
        if time.monotonic() > self.until:
            try:
                self.found = await run_in_threadpool(_directions, use)
            except Exception as error:
                log.warning("names of models not refreshed", error=type(error).__name__)
                if not self.until:
                    raise Full("models cannot be looked up now", retry_after=2.0) from error
            self.until = time.monotonic() + FRESH
        return self.found


def _directions(use: Any) -> Directions:
    models, token, more = [], "", True
    while more:
        page = use.registry.models(task=TASK, page_size=1000, page_token=token)
        models += page.items
        token, more = page.next_page_token, bool(page.next_page_token)
    found: dict[Pair, str] = {}
    for model in models:
        said = pair(model.name)
        if said is not None and PRODUCTION in model.aliases:
            found[said] = model.name
    for model in models:
        for alias in model.aliases:
            said = pair(alias)
            if said is not None:
                found.setdefault(said, f"{model.name}@{alias}")
    default = next((model for model in models if model.default and PRODUCTION in model.aliases), None)
    unsaid = default is not None and not any(pair(name) for name in (default.name, *default.aliases))
    return Directions(models=found, otherwise=default.name if default is not None and unsaid else None)


def router() -> APIRouter:
    """The routes, with what they remember of names."""
    made, known = APIRouter(tags=["libretranslate"]), Known()

    @made.get("/languages", responses=responses(under="/languages"))
    async def languages(use: Use) -> list[Language]:
        """The languages that names of models and aliases say, without a key as on every LibreTranslate."""
        models = (await known.now(use)).models
        return [
            Language(code=code(each), name=named(each), targets=sorted(code(to) for of, to in models if of == each))
            for each in sorted({language for both in models for language in both})
        ]

    @made.post(
        "/translate",
        response_model=Answered,
        response_model_exclude_none=True,
        responses=responses(404, 409, 504, under="/translate"),
        openapi_extra={"requestBody": BODY},
    )
    async def translate(request: Request, use: Use, deadline: Deadline = None) -> Response:
        """A text or several, from one language to another."""
        asked = await _asked(request, use)
        call = await called(request, asked.api_key, deadline)
        texts = _texts(asked)
        return await call.answer(_translated(call, asked, texts, await known.now(use)))

    return made


async def _asked(request: Request, use: Any) -> Asked:
    """A body of JSON or of a form, whose lines may end as they like. Raises `RequestValidationError`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    whole = await request.body()
    if kind == "application/json":
        return await use.predictions.read(shaped(Asked), whole)  # type: ignore[no-any-return]
    sent: dict[str, Any] = dict(request.query_params)
    async with request.form(max_files=0, max_fields=20) as form:
        sent |= {name: value for name, value in form.items() if isinstance(value, str)}
    if "q" in sent:
        sent["q"] = "\n".join(sent["q"].splitlines())
    try:
        return Asked.model_validate(sent)
    except ValidationError as error:
        raise refused(error, "body", body=sent) from None


def _texts(asked: Asked) -> list[Text]:
    """The texts in parts. Raises `Invalid` in LibreTranslate's words, `TooLarge`."""
    for name in ("q", "source", "target"):
        if not getattr(asked, name):
            raise Invalid(f"Invalid request: missing {name} parameter")
    if asked.format not in (None, "", "text", "html"):
        raise Invalid(f"{asked.format[:40]} format is not supported")
    texts = asked.q if isinstance(asked.q, list) else [asked.q or ""]
    if (characters := sum(map(len, texts))) > LONGEST:
        raise TooLarge(f"{characters} characters in one request; at most {LONGEST}")
    return [cut(text, markup=asked.format == "html") for text in texts]


async def _translated(call: Call, asked: Asked, texts: Sequence[Text], directions: Directions) -> Response:
    source, target = written(asked.source or ""), written(asked.target or "")
    detected = directions.detected(target) if source == "auto" else None
    of = written(detected.language) if detected is not None else source
    model = directions.model(of, target)
    sentences = [text.parts[place] for text in texts for place in text.places]
    outputs: list[Any] = []
    if sentences and model is not None:
        params = {"alternatives": asked.alternatives}
        outputs = await call.outputs(TASK, sentences, model=model, params=params)
    best = [output.translation for output in outputs] or sentences
    others = [[other.translation for other in output.alternatives] for output in outputs] or [[] for _ in sentences]
    told = _joined(texts, best)
    answer: dict[str, Any] = {"translatedText": told}
    if asked.alternatives:
        further = [
            _joined(texts, [(each[rank : rank + 1] or [first])[0] for each, first in zip(others, best, strict=True)])
            for rank in range(asked.alternatives)
        ]
        answer["alternatives"] = [_distinct(first, *rest) for first, *rest in zip(told, *further, strict=True)]
    if detected is not None:
        answer["detectedLanguage"] = [detected.model_dump()] * len(texts)
    if not isinstance(asked.q, list):
        answer = {name: several[0] for name, several in answer.items()}
    return Response(orjson.dumps(answer), media_type="application/json")


def _joined(texts: Sequence[Text], translations: Sequence[str]) -> list[str]:
    """Each text with its translations, of which all have theirs in turn."""
    rest = iter(translations)
    return [text.joined([next(rest) for _ in text.places]) for text in texts]


def _distinct(first: str, *others: str) -> list[str]:
    """The others, without the first and without repeats."""
    return [other for other in dict.fromkeys(others) if other != first]


_FIELDS: dict[str, Any] = {
    "q": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    "source": {"type": "string"},
    "target": {"type": "string"},
    "format": {"type": "string", "enum": ["text", "html"]},
    "alternatives": {"type": "integer", "minimum": 0, "maximum": 16},
    "api_key": {"type": "string"},
}
_SCHEMA = {
    "type": "object",
    "required": ["q", "source", "target"],
    "properties": {
        name: {**shape, "description": Asked.model_fields[name].description} for name, shape in _FIELDS.items()
    },
}
BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": _SCHEMA,
            "examples": {"text": {"value": {"q": "where is my book ?", "source": "en", "target": "es"}}},
        },
        "application/x-www-form-urlencoded": {
            "schema": {**_SCHEMA, "properties": {**_SCHEMA["properties"], "q": {"type": "string"}}}  # type: ignore[dict-item]
        },
    },
}
