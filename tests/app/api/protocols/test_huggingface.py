"""Hugging Face's pipelines give what the task's own route gives, in the shapes that `InferenceClient` reads."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.models.tasks.sounds import b64, sung, wav

TEXT = "Emma Jones works for Google in London."


def ask(client: TestClient, ref: str, inputs: Any, **parameters: Any) -> Any:
    answer = client.post(f"/hf/{ref}", json={"inputs": inputs, "parameters": parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()


def own(client: TestClient, task: str, items: list[Any], model: str, **params: Any) -> list[Any]:
    answer = client.post(f"/v1/{task}", json={"inputs": items, "model": model, "params": params})
    assert answer.status_code == 200, answer.text
    outputs: list[Any] = answer.json()["outputs"]
    return outputs


@pytest.fixture(scope="module")
def tone() -> bytes:
    return wav(sung(["high", None, "low", "mid", "high"], seed=99)[0])


def test_a_text_is_classified(speaking: TestClient) -> None:
    texts = ["I loved this movie!", "a waste of time"]
    outputs = own(speaking, "sentiment", texts, "reviews")
    told = [[{"label": label, "score": score} for label, score in each["scores"].items()] for each in outputs]
    assert ask(speaking, "reviews", texts[0]) == told[:1]
    assert ask(speaking, "reviews@production", texts) == told
    assert ask(speaking, "reviews:1", texts, top_k=1, function_to_apply="softmax") == [each[:1] for each in told]


def test_the_words_of_a_text_are_the_tokens_of_a_sequence(speaking: TestClient) -> None:
    (output,) = own(speaking, "sequences", [{"tokens": ["open", "fail"]}], "logs")
    assert output["label"] == "fail"
    told = [{"label": label, "score": score} for label, score in output["scores"].items()]
    assert ask(speaking, "logs", "open fail") == [told]
    assert ask(speaking, "logs", [["open", "fail"], {"tokens": ["open", "fail"]}]) == [told, told]
    values = [[0.1, 1.0], [0.4, 0.9], [0.9, 0.5]]
    (shape,) = own(speaking, "sequences", [{"values": values}], "shapes")
    assert ask(speaking, "shapes", [values])[0][0] == {"label": shape["label"], "score": shape["score"]}


@pytest.mark.parametrize("strategy", [None, "simple", "first", "average", "max"])
def test_entities_are_grouped(speaking: TestClient, strategy: str | None) -> None:
    (output,) = own(speaking, "ner", [TEXT], "people")
    assert output["entities"]
    told = [
        {"entity_group": e["label"], "score": e["score"], "word": e["text"], "start": e["start"], "end": e["end"]}
        for e in output["entities"]
    ]
    assert ask(speaking, "people", TEXT, aggregation_strategy=strategy) == told
    assert ask(speaking, "people", [TEXT, "no"])[0] == told
    label = output["entities"][0]["label"]
    kept = [each for each in told if each["entity_group"] != label]
    assert ask(speaking, "people", TEXT, ignore_labels=["O", label]) == kept


def test_without_a_strategy_each_token_of_an_entity_is_told(speaking: TestClient) -> None:
    (output,) = own(speaking, "ner", [TEXT], "people")
    told = ask(speaking, "people", TEXT, aggregation_strategy="none")
    assert [each["entity"] for each in told] == [tag for tag in output["tags"] if tag != "O"]
    for each in told:
        assert TEXT[each["start"] : each["end"]] == each["word"] == output["tokens"][each["index"] - 1]
        (around,) = [e for e in output["entities"] if e["start"] <= each["start"] < e["end"]]
        assert each["score"] == around["score"]
    tokens = ask(speaking, "people", {"tokens": output["tokens"]}, aggregation_strategy="none")
    assert [(each["start"], each["end"]) for each in tokens] == [(e["index"] - 1, e["index"]) for e in tokens]


def test_a_text_is_translated(speaking: TestClient) -> None:
    texts = ["the cat sleeps", "where is my book ?"]
    outputs = own(speaking, "translation", texts, "en-es", beam=3, alternatives=1)
    told = [[{"translation_text": o["translation"]}, *_others(o)] for o in outputs]
    options = {"num_beams": 3, "num_return_sequences": 2}
    assert ask(speaking, "en-es", texts[0], **options) == told[0]
    assert ask(speaking, "en-es", texts, generate_parameters=options) == told
    alone = own(speaking, "translation", texts, "en-es")
    assert ask(speaking, "en-es", texts, src_lang="en", tgt_lang="es") == [
        {"translation_text": each["translation"]} for each in alone
    ]


def _others(output: dict[str, Any]) -> list[dict[str, str]]:
    return [{"translation_text": each["translation"]} for each in output["alternatives"]]


def test_a_sound_is_classified_by_what_is_heard_longest(speaking: TestClient, tone: bytes) -> None:
    (output,) = own(speaking, "phonemes", [{"audio": b64(tone)}], "tones")
    heard: dict[str, float] = {}
    for each in output["phonemes"]:
        heard[each["label"]] = heard.get(each["label"], 0.0) + each["end"] - each["start"]
    raw = speaking.post("/hf/tones", content=tone, headers={"Content-Type": "audio/x-wav"}).json()
    assert {each["label"]: each["score"] for each in raw} == pytest.approx(
        {label: seconds / sum(heard.values()) for label, seconds in heard.items()}
    )
    assert [each["score"] for each in raw] == sorted((each["score"] for each in raw), reverse=True)
    assert speaking.post("/hf/tones", content=tone).json() == raw
    assert ask(speaking, "tones", b64(tone), top_k=1) == raw[:1]


@pytest.mark.parametrize(
    ("ref", "body", "status", "sentence"),
    [
        ("nobody", {"inputs": "x"}, 404, "no model 'nobody'"),
        ("No!", {"inputs": "x"}, 400, "'No!' is no model reference"),
        ("sales", {"inputs": "x"}, 409, "'sales' is for forecasting, which Hugging Face has no pipeline for"),
        ("reviews", {"inputs": ["x", ""]}, 400, "/inputs/1: it is empty"),
        ("reviews", {"inputs": []}, 400, "/inputs: it is empty"),
        ("reviews", {}, 400, "`inputs` is missing"),
        ("reviews", {"inputs": "x", "surprise": 1}, 400, "unknown field `surprise`"),
        ("reviews", {"inputs": "x", "parameters": {"function_to_apply": "sigmoid"}}, 400, "not 'sigmoid'"),
        ("reviews", {"inputs": "x", "parameters": {"top_k": 0}}, 400, "/parameters/top_k: at least 1"),
        ("reviews", {"inputs": ["x"] * 257}, 413, "257 inputs in one request; at most 256"),
        ("people", {"inputs": "x", "parameters": {"ignore_labels": []}}, 400, "leave 'O'"),
        ("en-es", {"inputs": "x", "parameters": {"truncation": "only_first"}}, 400, "not 'only_first'"),
        ("en-es", {"inputs": "x", "parameters": {"generate_parameters": {"do_sample": True}}}, 400, "`do_sample`"),
        ("tones", {"inputs": "hello"}, 400, "/inputs: the base64 of a WAV file is expected"),
        ("shapes", {"inputs": "open"}, 400, "cannot read `tokens`"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    speaking: TestClient, ref: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    answer = speaking.post(f"/hf/{ref}", json=body)
    assert (answer.status_code, sentence in answer.json()["error"]) == (status, True), answer.text
    assert answer.json().keys() == {"error"}


def test_a_sound_is_for_models_that_hear(speaking: TestClient, tone: bytes) -> None:
    answer = speaking.post("/hf/reviews", content=tone, headers={"Content-Type": "audio/wav"})
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]
    assert "not a readable WAV file" in speaking.post("/hf/tones", content=b"RIFF?").json()["error"]
