"""LibreTranslate's clients are answered by the model of their languages, sentence by sentence, as its server answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.api.protocols.languages import code, named, pair, written
from app.api.protocols.libretranslate import FRESH, Directions
from app.api.protocols.sentences import cut
from app.errors import Invalid, NotFound
from tests.app import served

CAT, BOOK = "the cat sleeps", "where is my book ?"


def ask(client: TestClient, **asked: Any) -> Any:
    answer = client.post("/translate", json={"source": "en", "target": "es", **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def own(speaking: TestClient) -> dict[str, dict[str, Any]]:
    """What the task's own route says of some sentences."""
    asked = {"inputs": [CAT, BOOK], "params": {"alternatives": 2}}
    outputs = speaking.post("/v1/translation", json=asked).json()["outputs"]
    return dict(zip((CAT, BOOK), outputs, strict=True))


def test_a_text_is_translated_sentence_by_sentence(speaking: TestClient, own: dict[str, dict[str, Any]]) -> None:
    cat, book = own[CAT]["translation"], own[BOOK]["translation"]
    assert ask(speaking, q=CAT) == {"translatedText": cat}
    assert ask(speaking, q=[CAT, BOOK]) == {"translatedText": [cat, book]}
    assert ask(speaking, q=f" {BOOK}  {CAT}\n\n{CAT} ")["translatedText"] == f" {book}  {cat}\n\n{cat} "
    assert ask(speaking, q=["", " \n"]) == {"translatedText": ["", " \n"]}
    assert ask(speaking, q=CAT, source="auto") == {
        "translatedText": cat,
        "detectedLanguage": {"confidence": 100.0, "language": "en"},
    }


def test_alternatives_are_those_of_the_whole_text(speaking: TestClient, own: dict[str, dict[str, Any]]) -> None:
    best = [own[each]["translation"] for each in (CAT, BOOK)]
    others = [[other["translation"] for other in own[each]["alternatives"]] for each in (CAT, BOOK)]
    found = ask(speaking, q=[CAT, BOOK], alternatives=2)
    assert found == {"translatedText": best, "alternatives": others}
    whole = ask(speaking, q=f"{BOOK} {CAT}", alternatives=1)
    assert whole["alternatives"] == [f"{others[1][0]} {others[0][0]}"]


def test_tags_stay_where_they_are(speaking: TestClient, own: dict[str, dict[str, Any]]) -> None:
    sent = f'<p class="a">{CAT}<br/>{BOOK}</p>\n<script>if (a < b) run()</script>&amp;'
    cat, book = own[CAT]["translation"], own[BOOK]["translation"]
    found = ask(speaking, q=sent, format="html")["translatedText"]
    assert found.startswith(f'<p class="a">{cat}<br/>{book}</p>\n<script>if (a < b) run()</script>')


def test_forms_are_read_as_well(speaking: TestClient, own: dict[str, dict[str, Any]]) -> None:
    sent = {"q": f"{CAT}\r\n{CAT}", "source": "en", "target": "es"}
    cat = own[CAT]["translation"]
    assert speaking.post("/translate", data=sent).json() == {"translatedText": f"{cat}\n{cat}"}
    parts = {name: (None, value) for name, value in sent.items()}
    assert speaking.post("/translate", files=parts).json() == {"translatedText": f"{cat}\n{cat}"}


def test_languages_are_those_that_names_say(speaking: TestClient) -> None:
    assert speaking.get("/languages").json() == [
        {"code": "en", "name": "English", "targets": ["es"]},
        {"code": "es", "name": "Spanish", "targets": []},
    ]


@pytest.mark.parametrize(
    ("changed", "status", "sentence"),
    [
        ({"q": ""}, 400, "Invalid request: missing q parameter"),
        ({"q": []}, 400, "Invalid request: missing q parameter"),
        ({"source": None}, 400, "Invalid request: missing source parameter"),
        ({"target": "zz"}, 400, "zz is not supported"),
        ({"source": "es", "target": "en"}, 400, "English (en) is not available as a target language from Spanish (es)"),
        ({"format": "xml"}, 400, "xml format is not supported"),
        ({"alternatives": "many"}, 400, "/alternatives: a whole number is expected, not 'many'"),
        ({"q": "x" * 100_001}, 413, "100001 characters in one request; at most 100000"),
        ({"q": ["x"] * 257}, 413, "257 inputs in one request; at most 256"),
        ({"q": [1]}, 400, "/q/0: a text is expected, not 1"),
    ],
)
def test_what_cannot_be_done_is_an_error(
    speaking: TestClient, changed: dict[str, Any], status: int, sentence: str
) -> None:
    answer = speaking.post("/translate", json={"q": CAT, "source": "en", "target": "es", **changed})
    assert (answer.status_code, sentence in answer.json()["error"]) == (status, True), answer.text


def test_the_key_may_lie_in_the_body(tmp_path: Path, translator: Path) -> None:
    services = served.services(tmp_path / "home")
    with served.client(services) as client:
        client.post("/v1/models/import?name=phrases", content=translator.read_bytes())
        key, sent = services.keys.create("mine", ["predict"]), {"q": CAT, "source": "en", "target": "es"}
        assert client.post("/translate", json=sent).status_code == 401
        assert client.post("/translate", json={**sent, "api_key": "cg_a_b"}).json() == {
            "error": "the key is unknown or revoked"
        }
        assert client.post("/translate", json={**sent, "api_key": key}).status_code == 200
        assert client.post("/translate", data={**sent, "api_key": key}).status_code == 200
        assert client.post("/translate", json=sent, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert client.get("/languages").json() == []
        other = services.keys.create("other", ["train"])
        assert client.post("/translate", json={**sent, "api_key": other}).status_code == 403


def test_the_default_model_answers_what_nobody_claims_until_something_says_its_languages(
    tmp_path: Path, translator: Path
) -> None:
    with served.client(served.services(tmp_path / "home")) as client:
        nobody = client.post("/translate", json={"q": CAT, "source": "en", "target": "es"})
        assert (nobody.status_code, "no model answers for translation yet" in nobody.json()["error"]) == (404, True)
        client.post("/v1/models/import?name=phrases", content=translator.read_bytes())
        time.sleep(FRESH + 0.1)
        said = ask(client, q=CAT, source="auto", target="pt-BR")
        assert said["detectedLanguage"] == {"confidence": 0.0, "language": "und"}
        assert client.put("/v1/models/phrases/aliases/en-es", json={"version": 1}).status_code == 200
        time.sleep(FRESH + 0.1)
        refused = client.post("/translate", json={"q": CAT, "source": "en", "target": "pt-BR"})
        assert (refused.status_code, refused.json()) == (400, {"error": "pt-BR is not supported"})
        assert ask(client, q=CAT)["translatedText"] == said["translatedText"]
        assert [each["code"] for each in client.get("/languages").json()] == ["en", "es"]


def test_while_the_database_is_away_names_are_those_of_before(
    tmp_path: Path, translator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = served.services(tmp_path / "home")
    sent = {"q": CAT, "source": "en", "target": "es"}

    def away(**_: Any) -> None:
        raise OSError("no route to the database")

    with served.client(services) as client:
        client.post("/v1/models/import?name=en-es", content=translator.read_bytes())
        with monkeypatch.context() as patched:
            patched.setattr(services.registry, "models", away)
            refused = client.post("/translate", json=sent)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert client.post("/translate", json=sent).status_code == 200
        monkeypatch.setattr(services.registry, "models", away)
        time.sleep(FRESH + 0.1)
        assert client.post("/translate", json=sent).status_code == 200


def test_which_model_translates_what() -> None:
    several = Directions(models={("en", "de"): "en-de", ("fr", "de"): "phrases@fr-de"}, otherwise=None)
    assert several.model("fr", "de") == "phrases@fr-de"
    assert several.model("de", "de") is None
    with pytest.raises(Invalid, match="de is translated from en, fr; name `source`"):
        several.detected("de")
    with pytest.raises(NotFound, match="no model answers"):
        Directions(models={}, otherwise=None).detected("de")
    assert Directions(models={}, otherwise="phrases").model("en", "de") == "phrases"


def test_names_say_languages() -> None:
    assert pair("en-de") == ("en", "de")
    assert pair("zh_hans-pt_br") == ("zh_hans", "pt_br")
    assert [pair(name) for name in ("my-net", "en-de-2", "phrases", "en")] == [None] * 4
    assert (written("pt-BR"), code("pt_br"), code("zh_hans")) == ("pt_br", "pt-BR", "zh-Hans")
    assert (named("de"), named("pt_br")) == ("German", "Portuguese (BR)")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two three. Four", ["One.", "Two three.", "Four"]),
        ("Mr. Smith came. J. Brown left!", ["Mr. Smith came.", "J. Brown left!"]),
        ("approx. five\nlines ", ["approx. five", "lines"]),
        ("猫。犬？ 鳥", ["猫。", "犬？", "鳥"]),
        ("  ", []),
    ],
)
def test_where_sentences_end(text: str, sentences: list[str]) -> None:
    found = cut(text, markup=False)
    assert [found.parts[place] for place in found.places] == sentences
    assert found.joined(sentences) == text


def test_cutting_takes_time_in_proportion() -> None:
    began = time.perf_counter()
    for text in (
        "<" * 100_000,
        "<script>" * 12_000,
        " \n" * 50_000,
        "a. " * 33_000,
        "<!-- " * 20_000,
        f"a{' ' * 99_000}b",
    ):
        cut(text, markup=True)
    assert time.perf_counter() - began < 3
