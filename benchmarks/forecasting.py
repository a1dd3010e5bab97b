"""Forecasting against classical methods, in one run.

    python benchmarks/forecasting.py DATA [tourism|ett] [--seed 0] [--classical-python PYTHON]

`tourism`: monthly and quarterly series of the Tourism competition (Athanasopoulos et al. 2011), one
global model, mean MASE over the held-out values; AutoETS and DynamicOptimizedTheta by statsforecast,
in this interpreter or another one that has it. `ett`: ETTh1 OT, rows 8640/2880/2880, z-scored by the
first, h = 24, MSE over rolling windows of the last, against the last value repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from spoken import Spoken

from models import catalog
from models.predictor import Predictor
from models.runtimes.torch_run import TorchRun
from models.trainer import train

SEASONS = {"MONTHLY": 12, "QUARTERLY": 4}
FREQS = {"MONTHLY": "M", "QUARTERLY": "Q"}

CLASSICAL = """
import json, sys, warnings
import numpy as np
warnings.filterwarnings("ignore")
from statsforecast.models import AutoETS, DynamicOptimizedTheta
errors = {"AutoETS": [], "DynamicOptimizedTheta": []}
for past, future, season in json.load(open(sys.argv[1])):
    past, future = np.array(past, float), np.array(future, float)
    scale = np.mean(np.abs(past[season:] - past[:-season]))
    for model in (AutoETS(season_length=season), DynamicOptimizedTheta(season_length=season)):
        said = model.forecast(y=past, h=len(future))["mean"]
        errors[type(model).__name__].append(float(np.mean(np.abs(said - future)) / scale))
print(json.dumps({name: float(np.mean(e)) for name, e in errors.items()}))
"""


def tourism(asked: argparse.Namespace) -> None:
    found = json.loads((asked.data / "forecasting/tourism.json").read_text())
    series = [(s["x"], s["xx"], s["period"][0]) for s in found.values() if s["period"][0] in SEASONS]
    print(f"{len(series)} series, seed {asked.seed}")
    mase = {"seasonal naive": np.mean([error(np.resize(x[-SEASONS[p] :], len(xx)), x, xx, p) for x, xx, p in series])}
    rows = [{"values": x, "freq": FREQS[p], "test_values": xx} for x, xx, p in series]
    predictor, seconds = trained(rows, asked)
    outputs = answers(predictor, [{"values": r["values"], "freq": r["freq"]} for r in rows])
    mase[f"Cellgate, {seconds:.0f} s of training"] = np.mean(
        [error(o.quantiles["0.5"][: len(xx)], x, xx, p) for o, (x, xx, p) in zip(outputs, series, strict=True)]
    )
    if asked.classical_python:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([(x, xx, SEASONS[p]) for x, xx, p in series], file)
            file.flush()
            done = subprocess.run(
                [asked.classical_python, "-c", CLASSICAL, file.name], check=True, capture_output=True, text=True
            )
        mase |= json.loads(done.stdout)
    for name, value in mase.items():
        print(f"{name:40} MASE {value:.4f}  {value / mase['seasonal naive']:.3f} of naive")


def error(said: list[float], past: list[float], future: list[float], period: str) -> float:
    season, past_array = SEASONS[period], np.array(past, float)
    scale = np.mean(np.abs(past_array[season:] - past_array[:-season]))
    return float(np.mean(np.abs(np.array(said) - np.array(future))) / scale)


def ett(asked: argparse.Namespace) -> None:
    with (asked.data / "forecasting/ETTh1.csv").open() as file:
        values = np.array([float(row["OT"]) for row in csv.DictReader(file)])[:14_400]
    values = (values - values[:8640].mean()) / values[:8640].std()
    rows = [
        {"values": values[:8640].tolist(), "freq": "H", "split": "train"},
        {"values": values[8640 - 400 : 11_520].tolist(), "freq": "H", "split": "validation"},
    ]
    predictor, seconds = trained(rows, asked)
    origins = range(11_520, 14_400 - 24 + 1)
    outputs = answers(predictor, [{"values": values[o - 400 : o].tolist(), "freq": "H"} for o in origins])
    futures = np.array([values[o : o + 24] for o in origins])
    print(f"{len(futures)} windows, seed {asked.seed}, {seconds:.0f} s of training")
    print(f"last value  MSE {np.mean((values[[o - 1 for o in origins]][:, None] - futures) ** 2):.4f}")
    print(f"Cellgate    MSE {np.mean((np.array([o.mean[:24] for o in outputs]) - futures) ** 2):.4f} (mean)")
    print(
        f"Cellgate    MSE {np.mean((np.array([o.quantiles['0.5'][:24] for o in outputs]) - futures) ** 2):.4f} (median)"
    )


def trained(rows: list[dict], asked: argparse.Namespace):

    card, codec, network = (find("forecasting") for find in (catalog.card, catalog.codec, catalog.network))
    parsed = [card.row.model_validate(row) for row in rows]
    # The future stays out of training's sight: the test part is scored here alone.
    parts = {p: [r for r in parsed if r.split in {None, p}] for p in ("train", "validation")}
    config = card.config.model_validate({"seed": asked.seed, **asked.config})
    began = time.monotonic()
    made = train(codec, network, parts, config, monitor=Spoken())
    print(f"  state: {made.state}")
    return Predictor(codec, made.state, config, TorchRun(made.net, network)), time.monotonic() - began


def answers(predictor, items: list[dict]) -> list:
    card = predictor.codec.card
    params = card.params()
    examples = [predictor.prepare(card.parse_item(item), params) for item in items]
    return [o for i in range(0, len(examples), 64) for o in predictor.answer(examples[i : i + 64], params)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("which", choices=["tourism", "ett"], default="tourism", nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=json.loads, default={})
    installed = find_spec("statsforecast") is not None
    parser.add_argument("--classical-python", default=sys.executable if installed else None)
    asked = parser.parse_args()
    {"tourism": tourism, "ett": ett}[asked.which](asked)


if __name__ == "__main__":
    sys.exit(main())
