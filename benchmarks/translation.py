"""BLEU of a translator on small sentences, against a plain PyTorch network of the same size that feeds its input.

    python benchmarks/translation.py DATA [enja|engfra] [--epochs 4] [--seed 0] [--config {}] [--only ours|plain]

DATA holds `translation/`. enja: small_parallel_enja, English to Japanese, 50,000/500/500 pairs as given, both sides
tokenised; BLEU on the tokenised references (sacreBLEU, tokenize none). engfra: English to French, 5,000 very short
pairs, shuffled with seed 1, 90/5/5; BLEU with tokenize 13a.

The opponent is the recurrent network of JoeyNMT (Kreutzer et al. 2019) in plain PyTorch: a BiLSTM encoder, an LSTM
decoder that is fed its last attentional vector (Luong et al. 2015, sec. 3.3), one step after the other. It has the
same widths, subwords, batches, dropout, smoothing, schedule, choice of the best epoch and beam search, so that the
networks are compared. Both run on one thread; CPU seconds are of the training with its validation.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from spoken import Spoken
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models import catalog
from models.batch import batches
from models.beam import Search
from models.runtimes.torch_run import TorchRun
from models.scores import bleu, bleu_signature, chrf
from models.subwords import END, PADDING, UNKNOWN
from models.trainer import train

CARD, CODEC = catalog.card("translation"), catalog.codec("translation")
BEAM = 4


def enja(data: Path) -> dict[str, list]:
    def part(name: str) -> list:
        sides = [
            (data / f"translation/{name}.{side}").read_text(encoding="utf-8").splitlines() for side in ("en", "ja")
        ]
        return [CARD.row(source=source, target=target) for source, target in zip(*sides, strict=True)]

    return {"train": part("train"), "validation": part("dev"), "test": part("test")}


def engfra(data: Path) -> dict[str, list]:
    lines = (data / "translation/eng-fra.txt").read_text(encoding="utf-8").splitlines()
    rows = [CARD.row(source=source, target=target) for source, target, _ in (line.split("\t") for line in lines)]
    random.Random(1).shuffle(rows)  # noqa: S311  a split, no secret
    a, b = round(0.9 * len(rows)), round(0.95 * len(rows))
    return {"train": rows[:a], "validation": rows[a:b], "test": rows[b:]}


class Plain(nn.Module):
    """Encoder, attention and decoder with input feeding; B sentences, T source and Q target steps."""

    def __init__(self, sources: int, targets: int, width: int, units: int, dropout: float) -> None:
        super().__init__()
        self.source = nn.Embedding(sources, width, padding_idx=PADDING)
        self.target = nn.Embedding(targets, width, padding_idx=PADDING)
        for table in (self.source, self.target):
            nn.init.normal_(table.weight, std=width**-0.5)
        self.encoder = nn.LSTM(width, units, batch_first=True, bidirectional=True)
        self.cell = nn.LSTMCell(width + width, units)
        self.bridge = nn.Linear(2 * units, 2 * units)
        self.general = nn.Linear(2 * units, units, bias=False)
        self.joined = nn.Linear(3 * units, width)
        self.bias = nn.Parameter(torch.zeros(targets))
        self.dropout = nn.Dropout(dropout)
        for lstm in (self.encoder, self.cell):
            for name, weight in lstm.named_parameters():
                if "weight_hh" in name:
                    for gate in weight.chunk(4):
                        nn.init.orthogonal_(gate)
                elif "weight_ih" in name:
                    nn.init.xavier_uniform_(weight)
                else:
                    nn.init.zeros_(weight)
                    if "bias_ih" in name:
                        nn.init.ones_(weight.data[units : 2 * units])

    def encode(self, source, lengths):
        packed = pack_padded_sequence(
            self.dropout(self.source(source)), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        steps, (last, _) = self.encoder(packed)
        memory, _ = pad_packed_sequence(steps, batch_first=True, total_length=source.shape[1])
        h, c = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=1))).chunk(2, dim=1)
        fed = h.new_zeros(len(h), self.joined.out_features)
        real = torch.arange(source.shape[1]) < lengths[:, None]
        return memory, self.general(memory), real, torch.cat([h.contiguous(), c, fed], dim=1)

    def step(self, vectors, state, memory, keys, real):
        """vectors (N, E), state (N, 2H + E), memory (N, T, 2H), ... -> said (N, E), state, weights (N, T)."""
        units = self.cell.hidden_size
        h, c, fed = state.split([units, units, state.shape[1] - 2 * units], dim=1)
        h, c = self.cell(torch.cat([vectors, fed], dim=1), (h, c))
        weights = (keys @ h[:, :, None]).squeeze(2).masked_fill(~real, -1e9).softmax(1)
        context = (weights[:, None] @ memory).squeeze(1)
        said = self.dropout(torch.tanh(self.joined(torch.cat([context, h], dim=1))))
        return said, torch.cat([h, c, said], dim=1), weights

    def logits(self, said):
        return functional.linear(said, self.target.weight, self.bias)

    def loss(self, source, target, lengths, smoothing):
        memory, keys, real, state = self.encode(source, lengths)
        vectors, said = self.dropout(self.target(functional.pad(target[:, :-1], (1, 0), value=END))), []
        for q in range(target.shape[1]):
            one, state, _ = self.step(vectors[:, q], state, memory, keys, real)
            said.append(one)
        true = target != PADDING
        logits = self.logits(torch.stack(said, dim=1)[true])
        return functional.cross_entropy(logits, target[true], reduction="sum", label_smoothing=smoothing), int(
            true.sum()
        )


class PlainRun:
    """The plain network as the search asks it."""

    def __init__(self, net: Plain) -> None:
        self.net = net

    def translations(self, examples, state, beam: int) -> list[str]:
        found = [""] * len(examples)
        for chosen in batches([example.length for example in examples], steps=1024):
            batch = CODEC.collate([examples[i] for i in chosen])
            with torch.inference_mode():
                hypotheses = self._searched(batch, beam)
            for index, best in zip(chosen, hypotheses, strict=True):
                unknown = [examples[index].context.unknown[place] for place in best[0].copied]
                found[index] = state.written.join(best[0].ids, unknown)
        return found

    def _searched(self, batch, beam: int):
        source, lengths = (torch.from_numpy(batch.arrays[name]) for name in ("source", "lengths"))
        names = ("memory", "keys", "real", "state")
        encoded = {n: a.numpy() for n, a in zip(names, self.net.encode(source, lengths), strict=True)}
        state = {"state": encoded.pop("state")[:, None]}
        limits = [context.limit for context in batch.contexts]
        search = Search(beam=beam, padding=PADDING, unknown=UNKNOWN, end=END)
        return search(self._step, state, encoded, batch.arrays["source"] == UNKNOWN, limits)

    def _step(self, ids, state, items):
        items_, beams = ids.shape
        flat = {n: torch.from_numpy(np.repeat(a, beams, axis=0)) for n, a in items.items()}
        vectors = self.net.target(torch.from_numpy(ids).reshape(-1))
        said, after, weights = self.net.step(vectors, torch.from_numpy(state["state"]).flatten(0, 1), **flat)
        spoken = self.net.logits(said).log_softmax(1)
        shaped = [a.reshape(items_, beams, -1).numpy() for a in (spoken, after, weights)]
        return shaped[0], {"state": shaped[1]}, shaped[2]


def plain(parts: dict, state, config) -> Plain:
    """The opponent, taught by the same schedule as ours; the epoch of the best dev BLEU (greedy)."""
    torch.manual_seed(config.seed)
    sampler = np.random.default_rng(config.seed)
    net = Plain(len(state.source), len(state.written), config.embedding, config.hidden, config.dropout)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=0.01)
    examples = [
        e
        for row in parts["train"]
        for e in CODEC.examples(row, state, config.model_copy(update={"copies": 0.0}), "train")
    ]
    lengths = [e.length for e in examples]
    steps = config.epochs * sum(1 for _ in batches(lengths, steps=config.batch_steps))
    step, best, kept = 0, -math.inf, {}
    print(f"  {sum(p.numel() for p in net.parameters())} parameters", flush=True)
    for epoch in range(1, config.epochs + 1):
        net.train()
        total = counted = 0
        for chosen in batches(lengths, steps=config.batch_steps, shuffle=sampler):
            step += 1
            warm = 0.05 * steps
            rate = (
                step / warm if step < warm else 0.02 + 0.49 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
            )
            for group in optimizer.param_groups:
                group["lr"] = config.lr * rate
            arrays = CODEC.collate([examples[i] for i in chosen]).mapped(torch.from_numpy).arrays
            loss, n = net.loss(arrays["source"], arrays["target"], arrays["lengths"], config.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            (loss / n).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            total, counted = total + loss.item(), counted + n
        net.eval()
        score = bleu(*judged(parts["validation"], state, config, PlainRun(net), 1))
        print(f"  epoch {epoch}: loss {total / counted:.3f}, dev BLEU {score:.2f} (greedy)", flush=True)
        if score > best:
            best, kept = score, copy.deepcopy(net.state_dict())
    net.load_state_dict(kept)
    return net.eval()


class OurRun:
    """Our network, asked by the codec."""

    def __init__(self, net: nn.Module) -> None:
        self.run = TorchRun(net, catalog.network("translation"))

    def translations(self, examples, state, beam: int) -> list[str]:
        found = [""] * len(examples)
        for chosen in batches([example.length for example in examples], steps=1024):
            batch = CODEC.collate([examples[i] for i in chosen])
            outputs = CODEC.predict(self.run, batch, CARD.params(beam=beam), state)
            for index, output in zip(chosen, outputs, strict=True):
                found[index] = output.translation
        return found


def judged(rows: list, state, config, run, beam: int) -> tuple[list[str], list[str]]:
    """Translations and references."""
    examples = [CODEC.example(row.source, CARD.params(beam=beam), state, config) for row in rows]
    return run.translations(examples, state, beam), [row.target for row in rows]


def clocks() -> tuple[float, float]:
    """CPU and wall seconds."""
    return time.process_time(), time.monotonic()


def told(name: str, parts: dict, state, config, run, *, tokenize: str, began: tuple[float, float]) -> None:
    cpu, wall = (now - then for now, then in zip(clocks(), began, strict=True))
    found = {part: judged(parts[part], state, config, run, BEAM) for part in ("validation", "test")}
    dev, test = (bleu(*found[part], tokenize=tokenize) for part in ("validation", "test"))
    print(
        f"{name}: test BLEU {test:.2f}, chrF {chrf(*found['test']):.2f}; dev BLEU {dev:.2f}; beam {BEAM}; "
        f"trained in {cpu:.0f} CPU s ({wall:.0f} s)\n  {bleu_signature(*found['test'], tokenize=tokenize)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("pairs", nargs="?", choices=["enja", "engfra"], default="enja")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--only", choices=["ours", "plain"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    parts, tokenize = (enja(asked.data), "none") if asked.pairs == "enja" else (engfra(asked.data), "13a")
    config = CARD.config(**{"epochs": asked.epochs, "patience": asked.epochs, "seed": asked.seed, **asked.config})
    if asked.only != "plain":
        began = clocks()
        trained = train(CODEC, catalog.network("translation"), {**parts, "test": []}, config, monitor=Spoken())
        print(f"  {trained.parameters} parameters", flush=True)
        told("ours", parts, trained.state, config, OurRun(trained.net), tokenize=tokenize, began=began)
    if asked.only != "ours":
        began = clocks()
        state = CODEC.learn(parts["train"], config)
        net = plain(parts, state, config)
        told("plain", parts, state, config, PlainRun(net), tokenize=tokenize, began=began)


if __name__ == "__main__":
    main()
