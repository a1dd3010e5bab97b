"""Tensors as bytes: read where they lie, refused in a sentence where they do not fit, answered bit for bit."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from starlette.testclient import TestClient

from app.api.protocols.oip.answer import tensors, written
from app.api.protocols.oip.datatypes import DTYPES, Tensor, packed, unpacked
from app.api.protocols.oip.items import items
from app.api.protocols.oip.request import HEADER, inflated, read
from app.errors import Invalid, TooLarge
from models.audio import silent
from models.tasks.anomaly.schema import Output as Judged
from models.tasks.ner.schema import NerOutput
from tests.app import served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path]) -> Iterator[TestClient]:
    """A service with the models `reviews` and `moves`."""
    with served.client(served.services(tmp_path_factory.mktemp("oip") / "home")) as opened:
        for name, task in (("reviews", "sentiment"), ("moves", "sequences")):
            opened.post(f"/v1/models/import?name={name}", content=archives[task].read_bytes()).raise_for_status()
        yield opened


def sent(*given: tuple[str, str, tuple[int, ...], bytes], **more: Any) -> tuple[bytes, dict[str, str]]:
    """A body with tensors behind its JSON, and its header."""
    described = [
        {"name": name, "datatype": kind, "shape": shape, "parameters": {"binary_data_size": len(data)}}
        for name, kind, shape, data in given
    ]
    head = json.dumps({"inputs": described, **more}).encode()
    return head + b"".join(data for *_, data in given), {HEADER: str(len(head))}


def answered(answer: Any) -> tuple[dict[str, Any], bytes]:
    """The JSON of an answer, and the bytes after it."""
    assert answer.status_code == 200, answer.text
    end = int(answer.headers[HEADER])
    return json.loads(answer.content[:end]), answer.content[end:]


TEXTS = b"".join(len(text).to_bytes(4, "little") + text for text in ("😀 good".encode(), b"bad"))


def test_bytes_and_json_give_the_same(client: TestClient) -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 2)).astype(np.float32)
    lengths = np.array([5, 3], dtype=np.int64)
    body, headers = sent(
        ("values", "FP32", values.shape, values.tobytes()),
        ("lengths", "INT64", (2,), lengths.tobytes()),
        parameters={"binary_data_output": True},
    )
    head, data = answered(client.post("/v2/models/moves/infer", content=body, headers=headers))
    outputs = client.post(
        "/v1/sequences", json={"inputs": [{"values": values[0].tolist()}, {"values": values[1, :3].tolist()}]}
    )
    expected = outputs.json()["outputs"]
    sizes = [each["parameters"]["binary_data_size"] for each in head["outputs"]]
    label, score, scores = np.split(np.frombuffer(data, dtype=np.uint8), np.cumsum(sizes)[:-1])
    assert sum(sizes) == len(data)
    assert [each["label"].encode() in label.tobytes() for each in expected] == [True, True]
    assert score.view(np.float64).tolist() == pytest.approx([each["score"] for each in expected], abs=1e-5)
    names = json.loads(head["outputs"][2]["parameters"]["names"])
    assert scores.view(np.float64).tolist() == pytest.approx(
        [e["scores"][n] for e in expected for n in names], abs=1e-5
    )


def test_each_output_says_whether_it_is_bytes(client: TestClient) -> None:
    wanted = [{"name": "score", "parameters": {"binary_data": True}}, {"name": "label"}]
    body, headers = sent(("text", "BYTES", (2,), TEXTS), outputs=wanted)
    head, data = answered(client.post("/v2/models/reviews/infer", content=body, headers=headers))
    expected = client.post("/v1/sentiment", json={"inputs": ["😀 good", "bad"]}).json()["outputs"]
    score, label = head["outputs"]
    assert (score["parameters"], "data" in score) == ({"binary_data_size": 16}, False)
    assert np.frombuffer(data).tolist() == pytest.approx([each["score"] for each in expected], abs=1e-6)
    assert label["data"] == [each["label"] for each in expected]


@pytest.mark.parametrize(("coding", "packed_"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_body_may_be_sent_smaller(client: TestClient, coding: str, packed_: Any) -> None:
    body, headers = sent(("text", "BYTES", (2,), TEXTS))
    plain = client.post("/v2/models/reviews/infer", content=body, headers=headers).json()
    coded = {**headers, "Content-Encoding": coding}
    assert client.post("/v2/models/reviews/infer", content=packed_(body), headers=coded).json() == plain
    for content, sentence in ((body, f"the body is not {coding}"), (packed_(body)[:-3], "not one whole")):
        refused = client.post("/v2/models/reviews/infer", content=content, headers=coded)
        assert refused.status_code == 400
        assert sentence in refused.json()["error"]
    unknown = client.post("/v2/models/reviews/infer", content=body, headers={**headers, "Content-Encoding": "br"})
    assert unknown.json() == {"error": "a body may be sent as gzip or deflate, not as 'br'"}


def test_what_unpacks_beyond_the_limit_is_never_unpacked_whole() -> None:
    with pytest.raises(TooLarge, match="1000 bytes at most"):
        inflated(gzip.compress(b" " * 10_000_000), "gzip", most=1000)


@pytest.mark.parametrize(
    ("kind", "shape", "data", "sentence"),
    [
        ("FP64", (1, 3), b"x" * 20, "has 20 bytes; [1, 3] of FP64 takes 24"),
        ("BOOL", (1, 2), b"\x01\x02", "neither 0 nor 1"),
        ("BYTES", (2,), TEXTS[:-1], "has 2 bytes left where element 1 takes 3"),
        ("BYTES", (2,), TEXTS[:2], "ends within the length of element 0"),
        ("BYTES", (1,), TEXTS, "which are not 1 elements"),
        ("BYTES", (3,), TEXTS, "which are not 3 elements"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(kind: str, shape: tuple[int, ...], data: bytes, sentence: str) -> None:
    with pytest.raises(Invalid, match="the tensor 'values' ") as found:
        read(*_read(sent(("values", kind, shape, data))))
    assert sentence in found.value.detail


def _read(given: tuple[bytes, dict[str, str]]) -> tuple[bytes, str]:
    body, headers = given
    return body, headers[HEADER]


def test_lengths_of_the_whole_must_agree(client: TestClient) -> None:
    body, headers = sent(("text", "BYTES", (2,), TEXTS))
    for content, length, sentence in (
        (body + b"!", headers[HEADER], "1 bytes follow the last tensor"),
        (body[:-1], headers[HEADER], "are left after the JSON"),
        (body, "99999", "Inference-Header-Content-Length is '99999'"),
        (body, "-1", "Inference-Header-Content-Length is '-1'"),
        (body, "5", "the body is not JSON"),
    ):
        answer = client.post("/v2/models/reviews/infer", content=content, headers={HEADER: length})
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]
    latin, headers = sent(("text", "BYTES", (1,), b"\x01\0\0\0\xff"))
    answer = client.post("/v2/models/reviews/infer", content=latin, headers=headers)
    assert answer.json() == {"error": "the tensor 'text' holds bytes that are no UTF-8 in item 0"}


def test_the_items_numbers_are_the_bodys_own_bytes() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 6, 2)
    body, headers = sent(("values", "FP32", values.shape, values.tobytes()))
    _, found = read(body, headers[HEADER])
    made = items("sequences", found, most=10)
    for item, expected in zip(made, values, strict=True):
        np.testing.assert_array_equal(item.values, expected)
        assert np.shares_memory(item.values, np.frombuffer(body, dtype=np.uint8))


@pytest.mark.parametrize("kind", DTYPES)
def test_every_datatype_comes_back_as_it_went(kind: str) -> None:
    values = (np.arange(6).reshape(2, 3) % 2).astype(DTYPES[kind])
    data = packed(Tensor(name="x", datatype=kind, shape=(2, 3), values=values))
    np.testing.assert_array_equal(unpacked("x", kind, (2, 3), memoryview(data)).values, values)


def test_sounds_are_sent_as_their_own_bytes() -> None:
    wave = silent(0.1, 16_000).data
    for value in (wave, base64.b64encode(wave).decode()):
        sound = Tensor(name="audio", datatype="BYTES", shape=(1,), values=[value])
        (item,) = items("phonemes", {"audio": sound}, most=10)
        assert item.audio.data == wave
    with pytest.raises(Invalid, match="the tensor 'audio', item 0: the bytes are not a readable WAV file"):
        items("phonemes", {"audio": Tensor(name="audio", datatype="BYTES", shape=(1,), values=[b"RIFF"])}, most=10)


def test_tokens_are_texts_with_lengths() -> None:
    tokens = Tensor(name="tokens", datatype="BYTES", shape=(2, 3), values=[b"a", b"b", b"c", b"d", b"", b""])
    lengths = Tensor(name="lengths", datatype="INT64", shape=(2,), values=np.array([3, 1]))
    made = items("ner", {"tokens": tokens, "lengths": lengths}, most=10)
    assert [item.tokens for item in made] == [["a", "b", "c"], ["d"]]


def test_what_has_no_shape_of_its_own_is_json() -> None:
    notes = Tensor(name="notes", datatype="BYTES", shape=(1,), values=[b'[{"pitch": "C4"}, {"pitch": null}]'])
    (melody,) = items("melody", {"notes": notes}, most=10)
    assert [note.pitch for note in melody.notes] == [60, None]
    wrong = Tensor(name="notes", datatype="BYTES", shape=(1,), values=[b'[{"pitch": 900}]'])
    with pytest.raises(Invalid, match="the tensor 'notes', item 0, at 0/pitch: at most 127"):
        items("melody", {"notes": wrong}, most=10)


def test_what_is_shorter_is_padded() -> None:
    judged = [
        Judged(scores=[0.5] * n, is_anomaly=[True] * n, events=[], threshold=2, expected=e, lower=e, upper=e, warm_up=n)
        for n, e in ((2, [[1.0, 2.0], [3.0, 4.0]]), (1, [[5.0, 6.0]]))
    ]
    made = {each.name: each for each in tensors("anomaly", judged, [])}
    assert json.loads(made["scores"].parameters["lengths"]) == [2, 1]
    assert made["expected"].shape == (2, 2, 2)
    np.testing.assert_array_equal(made["expected"].values[1], [[5, 6], [np.nan, np.nan]])
    assert (made["is_anomaly"].datatype, made["is_anomaly"].values.tolist()) == ("BOOL", [[True, True], [True, False]])
    assert (made["warm_up"].datatype, made["events"].values) == ("INT64", ["[]", "[]"])
    body, length = written({}, [made["expected"]], [False])
    assert length is None
    assert orjson.loads(body)["outputs"][0]["data"] == [1, 2, 3, 4, 5, 6, None, None]


def test_nothing_found_is_an_empty_axis() -> None:
    found = [NerOutput(entities=[], tokens=[], tags=[])]
    made = {each.name: each for each in tensors("ner", found, ["tokens", "entities"])}
    assert (made["tokens"].shape, made["tokens"].values) == ((1, 0), [])
    body, length = written({}, [made["tokens"]], [True])
    assert length == len(body)
