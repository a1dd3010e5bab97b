"""The commands. Knows the roots for `serve`, `worker`, `migrate` and `keys`, and HTTP alone for the others."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from app import settings as configuration
from app import supervisor, worker
from app.client import Client, Problem, follow, name_for
from app.db.engine import Database
from app.db.migrate import is_current, upgrade
from app.errors import CellgateError
from app.services.keys import SCOPES, Keys, KeysNeeded
from app.settings import Settings, WrongSetting
from models import catalog, devices

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Trains and serves recurrent sequence models over HTTP.",
)
keys_app = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke.")
app.add_typer(keys_app, name="keys")
console = Console()

Url = Annotated[str, typer.Option(envvar="CELLGATE_URL", help="Where the service listens.")]
Key = Annotated[str, typer.Option(envvar="CELLGATE_KEY", help="An API key, where one is needed.")]
HERE = "http://127.0.0.1:8000"


def fail(sentence: str) -> NoReturn:
    """End with a sentence and no traceback."""
    Console(stderr=True).print(f"[red]{plain(sentence)}[/red]", highlight=False)
    raise typer.Exit(1)


def plain(text: str) -> str:
    """Text in which rich sees no markup."""
    return text.replace("[", r"\[")


def given(**changes: object) -> Settings:
    """The environment's settings with a command's options over them."""
    try:
        loaded = configuration.load(_environment())
        return Settings.model_validate(
            loaded.model_dump() | {name: value for name, value in changes.items() if value is not None}
        )
    except (WrongSetting, ValueError) as error:
        fail(str(error))


def _environment() -> dict[str, str]:
    """The environment without the variables that are the client's, not the service's."""
    return {name: value for name, value in os.environ.items() if name not in {"CELLGATE_URL", "CELLGATE_KEY"}}


def database(settings: Settings) -> Database:
    """The migrated database of these settings."""
    settings.home.mkdir(parents=True, exist_ok=True)
    opened = Database(settings.database)
    upgrade(opened)
    return opened


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes to run beside the API.")] = None,
) -> None:
    """Migrate the database, start the API and its workers, and run until told to stop."""
    try:
        code = supervisor.serve(given(host=host, port=port, workers=workers))
    except (KeysNeeded, CellgateError, OSError) as error:
        fail(str(error))
    raise typer.Exit(code)


@app.command(name="worker")
def work(parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process has.")] = None) -> None:
    """Run one worker: claim jobs, train, register what was learnt. Start as many as there is room for."""
    settings = given()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if parent is not None:
        threading.Thread(target=_outlive, args=(parent, stopping), daemon=True).start()
    worker.run(settings, stopping)


def _outlive(parent: int, stopping: threading.Event) -> None:
    """Stop when the supervisor is gone, however it ended."""
    while not stopping.wait(1.0):
        if os.getppid() != parent:
            stopping.set()


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables; changes nothing where that is done."""
    opened = database(given())
    console.print("the database is current" if is_current(opened) else "the database is not current")
    opened.close()


@app.command()
def train(  # noqa: PLR0917 - each is an option of the command
    dataset: Annotated[str, typer.Argument(help="A file to upload, or the name or id of a data set.")],
    task: Annotated[str, typer.Option(help="The task, as in GET /v1/tasks.")],
    model: Annotated[str, typer.Option(help="The model that the new version belongs to.")],
    config: Annotated[str, typer.Option(help="Options of the run as JSON: '{\"epochs\": 5}'.")] = "{}",
    follow_: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait, with a progress bar.")] = True,
    url: Url = HERE,
    key: Key = "",
) -> None:
    """Upload a file, start a training job, and watch it learn."""
    try:
        options = json.loads(config)
    except json.JSONDecodeError as error:
        fail(f"--config is no JSON: {error}")
    with Client(url, key) as client:
        try:
            if Path(dataset).is_file():
                made = client.upload(Path(dataset), task=task, name=name_for(Path(dataset)))
                console.print(f"data set {made['id']}: {made['rows']} rows, {json.dumps(made['splits'])}")
                dataset = made["id"]
            job = client.train(task=task, dataset=dataset, model=model, config=options)
            console.print(f"job {job['id']} is {job['state']}")
            if follow_:
                job = follow(client, job["id"], console)
                if job["state"] != "succeeded":
                    fail(f"{job['state']}: {(job['error'] or {}).get('detail', 'no reason was given')}")
                console.print_json(data=job["result"])
        except Problem as problem:
            fail(str(problem))


@app.command()
def predict(  # noqa: PLR0917 - each is an option of the command
    task: Annotated[str, typer.Argument(help="The task, as in GET /v1/tasks.")],
    inputs: Annotated[list[str], typer.Argument(help="Items: JSON, or plain text for the text tasks.")],
    model: Annotated[str | None, typer.Option(help="name, name@alias or name:version.")] = None,
    params: Annotated[str, typer.Option(help="Options of the request as JSON.")] = "{}",
    url: Url = HERE,
    key: Key = "",
) -> None:
    """Ask a model for answers and print them as JSON."""
    items = []
    for text in inputs:
        try:
            items.append(json.loads(text))
        except json.JSONDecodeError:
            items.append(text)
    try:
        options = json.loads(params)
    except json.JSONDecodeError as error:
        fail(f"--params is no JSON: {error}")
    with Client(url, key) as client:
        try:
            console.print_json(data=client.predict(task, items, model=model, params=options))
        except Problem as problem:
            fail(str(problem))


@keys_app.command("create")
def create_key(
    scope: Annotated[str, typer.Option(help=f"One or more of {','.join(SCOPES)}, with commas.")] = "predict",
    name: Annotated[str, typer.Option(help="Whose it is, or what for.")] = "",
) -> None:
    """Make a key and show it, this once."""
    settings = given()
    try:
        made = Keys(database(settings), settings).create(name, [part.strip() for part in scope.split(",")])
    except ValueError as error:
        fail(str(error))
    print(made)


@keys_app.command("list")
def list_keys() -> None:
    """Show every key without its secret."""
    settings = given()
    table = Table("id", "name", "scopes", "made", "revoked")
    for key in Keys(database(settings), settings).list():
        revoked = key.revoked_at.isoformat() if key.revoked_at else ""
        table.add_row(key.id, key.name, ",".join(key.scopes), key.created_at.isoformat(), revoked)
    console.print(table)


@keys_app.command("revoke")
def revoke_key(id: Annotated[str, typer.Argument(help="As `cellgate keys list` shows it.")]) -> None:  # noqa: A002
    """End a key, within seconds everywhere."""
    settings = given()
    try:
        Keys(database(settings), settings).revoke(id)
    except CellgateError as error:
        fail(error.detail)
    console.print(f"key {id} is revoked")


@app.command()
def doctor() -> None:
    """Say what this machine offers and what stands in the way."""
    settings = given()
    opened = Database(settings.database)
    settings.home.mkdir(parents=True, exist_ok=True)
    table = Table("what", "found", show_header=False)
    table.add_row("python", sys.version.split()[0])
    try:
        table.add_row("database", f"{opened.engine.url.get_backend_name()}, current: {is_current(opened)}")
    except Exception as error:
        table.add_row("database", f"not reachable: {type(error).__name__}")
    table.add_row("home", f"{settings.home}, writable: {os.access(settings.home, os.W_OK)}")
    table.add_row("tasks", ", ".join(sorted(card.name for card in catalog.cards().values())))
    for device in devices.inventory():
        free = f"{device.memory_free / 2**30:.1f} of {device.memory_total / 2**30:.1f} GiB free"
        table.add_row(device.id, f"{device.name}, {free}, {', '.join(device.precisions)}")
    console.print(table)


def main() -> None:
    """The `cellgate` command."""
    app()


if __name__ == "__main__":
    main()
