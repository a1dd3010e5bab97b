"""Translation of short phrases: hello world, how are you -> hola mundo, como estas tu; encoder-decoder of LSTM 64.

    python examples/10_short_phrases.py [--epochs 60]    # asks the service at CELLGATE_URL

Two phrases teach a network these two and nothing else. Thousands of your own make a translator: as JSON Lines with
`source` and `target`, or as a TSV of two columns.
"""

from __future__ import annotations

import argparse

from service import answers, connected, trained

PHRASES = {"hello world": "hola mundo", "how are you": "como estas tu"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    epochs = parser.parse_args().epochs
    rows = [{"source": source, "target": target, "split": "train"} for source, target in PHRASES.items()]
    config = {"cell": "lstm", "hidden": 64, "embedding": 64, "bidirectional": False, "lr": 0.01, "epochs": epochs}
    with connected() as client:
        result = trained(client, "translation", rows, {**config, "patience": epochs})
        said = answers(client, "translation", result["model"], [*PHRASES, "hello world 🌍"], alternatives=1)
        for source, output in zip([*PHRASES, "hello world 🌍"], said, strict=True):
            others = ", ".join(other["translation"] for other in output["alternatives"])
            print(f"{source} -> {output['translation']} ({output['score']:.2f}); else: {others}")


if __name__ == "__main__":
    main()
