"""Example 9: entities in two sentences, and in a third whose words were never seen.

    python examples/09_entities.py

A bidirectional LSTM of 100 units over word vectors of 50, their characters and their shapes, and a conditional
random field. Needs a running service (`make run`) at CELLGATE_URL, default http://127.0.0.1:8000; a key in
CELLGATE_KEY where one is needed. Two sentences teach what a name looks like and what follows "in"; that Emma is
no company, they cannot.
"""

from __future__ import annotations

from service import answers, connected, trained

SENTENCES = [
    {"tokens": ["John", "lives", "in", "New", "York"], "tags": ["B-PER", "O", "O", "B-LOC", "I-LOC"]},
    {"tokens": ["Apple", "is", "headquartered", "in", "Cupertino"], "tags": ["B-ORG", "O", "O", "O", "B-LOC"]},
]
QUESTION = "Emma works for Google in London"


def main() -> None:
    rows = [{**sentence, "split": "train"} for sentence in SENTENCES]
    with connected() as client:
        result = trained(client, "ner", rows, {"hidden": 100, "embedding": 50})
        print(
            f"trained version {result['version']} of {result['model']}: entity F1 {result['metrics']['entity_f1']:.0%}"
        )
        taught = [" ".join(sentence["tokens"]) for sentence in SENTENCES]
        for text, output in zip(
            [*taught, QUESTION], answers(client, "ner", result["model"], [*taught, QUESTION]), strict=True
        ):
            found = [f"{e['text']} ({e['label']}, {e['score']:.0%})" for e in output["entities"]]
            print(f"{text!r}: {', '.join(found) or 'no entity'}")


if __name__ == "__main__":
    main()
