"""Inference by the Open Inference Protocol: tensors in and out give the answers of the `/v1` routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app import served

NAMES = {"reviews": "sentiment", "sales": "forecasting", "moves": "sequences"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path]) -> Iterator[TestClient]:
    """A service with a model of each of three tasks."""
    with served.client(served.services(tmp_path_factory.mktemp("oip") / "home", max_inputs=50)) as opened:
        for name, task in NAMES.items():
            opened.post(f"/v1/models/import?name={name}", content=archives[task].read_bytes()).raise_for_status()
        yield opened


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def infer(client: TestClient, model: str, *inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The tensors of the answer by name, and `head`: the answer itself."""
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": list(inputs), **more})
    assert answer.status_code == 200, answer.text
    return {"head": answer.json(), **{each["name"]: each for each in answer.json()["outputs"]}}


def asked(client: TestClient, task: str, inputs: list[Any], **params: Any) -> list[dict[str, Any]]:
    """The same by the task's own route."""
    answer = client.post(f"/v1/{task}", json={"inputs": inputs, "params": params})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["outputs"]
    return found


def test_the_server_says_what_it_can(client: TestClient) -> None:
    server = client.get("/v2").json()
    assert server["name"] == "cellgate"
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(server["extensions"])
    assert (client.get("/v2/health/live").json(), client.get("/v2/health/ready").json()) == (
        {"live": True},
        {"ready": True},
    )


def test_a_model_says_its_tensors(client: TestClient) -> None:
    metadata = client.get("/v2/models/sales").json()
    assert metadata == client.get("/v2/models/sales/versions/1").json()
    assert (metadata["name"], metadata["versions"]) == ("sales", ["1"])
    shapes = {each["name"]: (each["datatype"], each["shape"]) for each in (*metadata["inputs"], *metadata["outputs"])}
    assert shapes == {
        "values": ("FP64", [-1, -1]),
        "freq": ("BYTES", [-1]),
        "start": ("BYTES", [-1]),
        "lengths": ("INT64", [-1]),
        "item": ("BYTES", [-1]),
        "mean": ("FP64", [-1, -1]),
        "quantiles": ("FP64", [-1, -1, -1]),
        "timestamps": ("BYTES", [-1, -1]),
        "output": ("BYTES", [-1]),
    }


def test_texts_give_labels_and_scores_by_name(client: TestClient) -> None:
    texts = ["I loved it", "a waste of time"]
    found = infer(client, "reviews", tensor("text", "BYTES", [2], texts), id="mine")
    expected = asked(client, "sentiment", texts)
    assert (found["head"]["id"], found["head"]["model_name"], found["head"]["model_version"]) == (
        "mine",
        "reviews",
        "1",
    )
    assert found["label"]["data"] == [each["label"] for each in expected]
    assert found["score"]["data"] == pytest.approx([each["score"] for each in expected], abs=1e-6)
    names = json.loads(found["scores"]["parameters"]["names"])
    assert found["scores"]["shape"] == [2, len(names)]
    assert found["scores"]["data"] == pytest.approx(
        [each["scores"][name] for each in expected for name in names], abs=1e-6
    )
    assert "output" not in found, "whole outputs are given to who asks"


def test_whole_items_give_whole_outputs(client: TestClient) -> None:
    items = ["good", {"text": "bad"}]
    sent = tensor("item", "BYTES", [2], [json.dumps(item) for item in items])
    found = infer(client, "reviews", sent, outputs=[{"name": "output"}], parameters={"top_k": 1})
    expected = asked(client, "sentiment", items, top_k=1)
    outputs = [json.loads(each) for each in found["output"]["data"]]
    assert [each["scores"].keys() for each in outputs] == [each["scores"].keys() for each in expected]
    assert list(found) == ["head", "output"]


def test_series_may_have_gaps_lengths_and_dates(client: TestClient) -> None:
    found = infer(
        client,
        "sales",
        tensor("values", "FP64", [2, 4], [[1, 2, None, 4], [5, 6, 7, 0]]),
        tensor("lengths", "INT32", [2], [4, 3]),
        tensor("freq", "BYTES", [2], ["M", ""]),
        tensor("start", "BYTES", [2], ["2024-01-01T00:00:00Z", ""]),
        parameters={"horizon": 2, "quantiles": "[0.2, 0.5]"},
    )
    items = [{"values": [1, 2, None, 4], "freq": "M", "start": "2024-01-01T00:00:00Z"}, {"values": [5, 6, 7]}]
    expected = asked(client, "forecasting", items, horizon=2, quantiles=[0.2, 0.5])
    assert found["mean"]["data"] == pytest.approx([value for each in expected for value in each["mean"]], rel=1e-5)
    levels = json.loads(found["quantiles"]["parameters"]["names"])
    assert (levels, found["quantiles"]["shape"]) == (["0.2", "0.5"], [2, 2, 2])
    flat = [value for each in expected for level in levels for value in each["quantiles"][level]]
    assert found["quantiles"]["data"] == pytest.approx(flat, rel=1e-5)
    assert found["timestamps"]["data"] == [*expected[0]["timestamps"], "", ""]
    assert json.loads(found["timestamps"]["parameters"]["lengths"]) == [2, 0]


def test_a_version_is_named_in_the_address_or_by_reference(client: TestClient) -> None:
    sent = {"inputs": [tensor("text", "BYTES", [1], ["x"])]}
    for place in ("reviews/versions/1", "reviews:1", "reviews@production"):
        answer = client.post(f"/v2/models/{place}/infer", json=sent)
        assert (answer.status_code, answer.json()["model_version"]) == (200, "1")
    for place in ("reviews/versions/7", "nobody"):
        missing = client.post(f"/v2/models/{place}/infer", json=sent)
        assert missing.status_code == 404
        assert missing.json().keys() == {"error"}


TEXT = tensor("text", "BYTES", [1], ["x"])


@pytest.mark.parametrize(
    ("model", "body", "sentence"),
    [
        ("reviews", {"inputs": []}, "/inputs: it is empty"),
        ("reviews", {"inputs": [TEXT], "surprise": 1}, "unknown field `surprise`"),
        ("reviews", {"inputs": [TEXT, TEXT]}, "the tensor 'text' stands there twice"),
        (
            "reviews",
            {"inputs": [{**TEXT, "name": "tekst"}]},
            "the tensor 'tekst' is unknown; sentiment takes text, item",
        ),
        ("reviews", {"inputs": [{**TEXT, "shape": [2]}]}, "the tensor 'text' has 1 elements; its shape [2] takes 2"),
        ("reviews", {"inputs": [{**TEXT, "shape": [1, 1]}]}, "the tensor 'text' has the shape [1, 1]"),
        ("reviews", {"inputs": [{**TEXT, "data": [1]}]}, "the tensor 'text' of BYTES holds something else"),
        ("reviews", {"inputs": [{**TEXT, "data": [""]}]}, "the tensor 'text', item 0: it is empty"),
        (
            "reviews",
            {"inputs": [tensor("text", "FP32", [1], [1.0])]},
            "the tensor 'text' is of FP32; BYTES is expected",
        ),
        ("reviews", {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]}]}, "the tensor 'text' has either"),
        ("reviews", {"inputs": [tensor("item", "BYTES", [1], ["{"])]}, "the tensor 'item' holds no JSON in item 0"),
        ("reviews", {"inputs": [TEXT, tensor("item", "BYTES", [1], ['"x"'])]}, "the tensor 'item' holds whole items"),
        ("reviews", {"inputs": [tensor("item", "BYTES", [1], ["3"])]}, "the tensor 'item', item 0: "),
        ("reviews", {"inputs": [TEXT], "outputs": [{"name": "y"}]}, "unknown output 'y'; sentiment answers label"),
        ("reviews", {"inputs": [TEXT], "parameters": {"top_k": 0}}, "the parameter 'top_k': at least 1"),
        ("reviews", {"inputs": [TEXT], "parameters": {"timeout": "soon"}}, "the parameter 'timeout' is"),
        ("sales", {"inputs": [tensor("values", "INT8", [1, 1], [900])]}, "at most 127 is expected, not 900"),
        (
            "sales",
            {"inputs": [tensor("values", "FP64", [1, 2], [1, 1e300])]},
            "the tensor 'values', item 0, at 1: a finite",
        ),
        (
            "sales",
            {"inputs": [tensor("values", "FP32", [1, 2], [1, 1e300])]},
            "the tensor 'values', item 0, at 1: a finite",
        ),
        ("sales", {"inputs": [tensor("values", "FP64", [1, 1], [None])]}, "the tensor 'values', item 0: every value"),
        ("sales", {"inputs": [tensor("values", "FP64", [2, 2], [[1], [2, 3]])]}, "is nested otherwise than its shape"),
        (
            "sales",
            {"inputs": [tensor("values", "FP64", [1, 2], [1, 2]), tensor("lengths", "INT64", [1], [3])]},
            "the tensor 'lengths' says 3 of item 0; from 1 to the 2 steps of 'values'",
        ),
        (
            "sales",
            {"inputs": [tensor("values", "FP64", [1, 2], [1, 2]), tensor("freq", "BYTES", [2], ["M", "M"])]},
            "the tensor 'freq' holds 2 items where 'values' holds 1",
        ),
        (
            "sales",
            {"inputs": [tensor("values", "FP64", [1, 1], [1])], "parameters": {"horizon": 900}},
            "the parameter 'horizon': a horizon of 900",
        ),
        (
            "sales",
            {"inputs": [tensor("values", "FP64", [1, 1], [1])], "outputs": [{"name": "timestamps"}]},
            "no item has",
        ),
        (
            "moves",
            {"inputs": [tensor("values", "FP32", [1, 1, 3], [1, 2, 3])]},
            "the tensor 'values', item 0: 3 numbers",
        ),
        ("moves", {"inputs": [tensor("values", "FP32", [1, 1, 2], [1, None])]}, "the tensor 'values', item 0, at 0/1"),
    ],
)
def test_what_is_wrong_is_said_of_the_tensor(client: TestClient, model: str, body: object, sentence: str) -> None:
    answer = client.post(f"/v2/models/{model}/infer", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json().keys() == {"error"}
    assert sentence in answer.json()["error"]


def test_other_errors_keep_their_status(client: TestClient) -> None:
    broken = client.post("/v2/models/reviews/infer", content=b"{")
    assert broken.status_code == 400
    assert broken.json()["error"].startswith("the body is not JSON: ")
    many = {"inputs": [tensor("text", "BYTES", [51], ["x"] * 51)]}
    assert client.post("/v2/models/reviews/infer", json=many).status_code == 413
    late = {"inputs": [TEXT], "parameters": {"timeout": 1}}
    answer = client.post("/v2/models/reviews/infer", json=late)
    assert (answer.status_code, list(answer.json())) == (504, ["error"])
    assert client.get("/v2/models/reviews/infer").json() == {"error": "GET is not allowed here"}
