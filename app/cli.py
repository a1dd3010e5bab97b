"""The commands. Knows the roots for `serve`, `worker`, `migrate` and `keys`, and HTTP alone for the others.

What only those who look at a terminal need is loaded by name: a service is started by a command as well.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from sqlalchemy.exc import SQLAlchemyError

from app import doctor as doctors
from app import settings as configuration
from app import supervisor, worker
from app.db.engine import Database, cause
from app.db.migrate import is_current, upgrade
from app.errors import CellgateError
from app.services.keys import SCOPES, Keys, KeysNeeded
from app.settings import Settings, WrongSetting

if TYPE_CHECKING:
    from rich.console import Console

    from app.client import Client

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Trains and serves recurrent sequence models over HTTP.",
)
keys_app = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke.")
app.add_typer(keys_app, name="keys")

Url = Annotated[str, typer.Option(envvar="CELLGATE_URL", help="Where the service listens.")]
Key = Annotated[str, typer.Option(envvar="CELLGATE_KEY", help="An API key, where one is needed.")]
HERE = "http://127.0.0.1:8000"


def fail(sentence: str) -> NoReturn:
    """End with a sentence and no traceback."""
    typer.secho(sentence, fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def say(text: str) -> None:
    """A line for a person, beside what the command prints for another program."""
    typer.echo(text, err=True)


def terminal() -> Console:
    """What a person looks at."""
    console: Console = importlib.import_module("rich.console").Console()
    return console


def tabled(rows: Iterable[tuple[str, ...]], *heads: str) -> None:
    """Print a table; without a head where there are no `heads`."""
    table = importlib.import_module("rich.table").Table(*heads, show_header=bool(heads))
    escape = importlib.import_module("rich.markup").escape
    for row in rows:
        table.add_row(*map(escape, row))
    terminal().print(table)


def remote() -> Any:
    """The module `app.client`."""
    return importlib.import_module("app.client")


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


@contextmanager
def database(settings: Settings) -> Iterator[Database]:
    """The migrated database of these settings, closed at the end; one that cannot be had is a sentence."""
    with _in_a_sentence():
        settings.home.mkdir(parents=True, exist_ok=True)
        opened = Database(settings.database)
        try:
            upgrade(opened)
            yield opened
        finally:
            opened.close()


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        fail(f"the database cannot be used: {cause(error)}")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes to run beside the API.")] = None,
    processes: Annotated[int | None, typer.Option(help="API processes behind the port.")] = None,
) -> None:
    """Migrate the database, start the API and its workers, and run until told to stop."""
    settings = given(host=host, port=port, workers=workers, processes=processes)
    with _in_a_sentence():
        try:
            code = supervisor.serve(settings)
        except (KeysNeeded, CellgateError) as error:
            fail(str(error))
    raise typer.Exit(code)


@app.command(hidden=True)
def answer(
    parent: Annotated[int, typer.Option(help="The supervisor; end when it has.")],
    ready: Annotated[int, typer.Option(help="The file to write a byte to once this process listens.")],
) -> None:
    """Be one of the API processes of `serve --processes`."""
    with _in_a_sentence():
        code = supervisor.answer(given(), parent=parent, ready=ready)
    raise typer.Exit(code)


@app.command(name="worker")
def work(
    slots: Annotated[int | None, typer.Option(help="Trainings at once, each a process of its own.")] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process has.")] = None,
) -> None:
    """Run one worker: claim jobs, train, register what was learnt. Start as many as there is room for."""
    settings = given(slots=slots)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if parent is not None:
        threading.Thread(target=_outlive, args=(parent, stopping), daemon=True).start()
    if not _has_tables(settings):
        fail("the database has not the tables of this version: run `cellgate migrate` on this or another machine")
    try:
        worker.run(settings, stopping)
    except CellgateError as error:
        fail(error.detail)


def _has_tables(settings: Settings) -> bool:
    """Whether the database is this version's; one that is away is waited for by the worker itself."""
    settings.home.mkdir(parents=True, exist_ok=True)
    opened = Database(settings.database)
    try:
        return is_current(opened)
    except SQLAlchemyError:
        return True
    finally:
        opened.close()


def _outlive(parent: int, stopping: threading.Event) -> None:
    """Stop when the supervisor is gone, however it ended."""
    while not stopping.wait(1.0):
        if os.getppid() != parent:
            stopping.set()


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables; changes nothing where that is done."""
    with database(given()) as opened:
        if not is_current(opened):
            fail("the database is not current")
    typer.echo("the database is current")


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
    options = _object(config, "--config")
    job: dict[str, Any] | None = None
    service, console = remote(), terminal()
    with service.Client(url, key) as client:
        try:
            if Path(dataset).is_file():
                made = client.upload(Path(dataset), task=task, name=service.name_for(Path(dataset)))
                parts = ", ".join(f"{rows} {part}" for part, rows in made["splits"].items())
                console.print(f"data set {made['id']}: {made['rows']} rows ({parts})", soft_wrap=True)
                dataset = made["id"]
            job = client.train(task=task, dataset=dataset, model=model, config=options)
            console.print(f"job {job['id']} is {job['state']}")
            if follow_:
                job = service.follow(client, job["id"], console)
                if job["state"] != "succeeded":
                    fail(_ending(job))
                console.print_json(data=job["result"])
        except service.Problem as problem:
            fail(str(problem))
        except KeyboardInterrupt:
            fail(f"no longer watching; the job goes on: {url}/v1/jobs/{job['id'] if job else ''}")


def _ending(job: dict[str, Any]) -> str:
    """How a job ended that did not succeed, and what may help."""
    error = job["error"] or {}
    remedy = f"; {error['remedy']}" if error.get("remedy") else ""
    return f"the job {job['id']} is {job['state']}" + (f": {error['detail']}{remedy}" if error else "")


def _object(text: str, option: str) -> dict[str, Any]:
    """An option that holds a JSON object."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        fail(f"{option} is no JSON: {error}")
    if not isinstance(found, dict):
        fail(f"{option} must be a JSON object, such as '{{\"seed\": 1}}'")
    return found


@app.command()
def predict(  # noqa: PLR0917 - each is an option of the command
    task: Annotated[str, typer.Argument(help="The task, as in GET /v1/tasks.")],
    inputs: Annotated[list[str] | None, typer.Argument(help="Items: JSON, or plain text for the text tasks.")] = None,
    model: Annotated[str | None, typer.Option(help="name, name@alias or name:version.")] = None,
    params: Annotated[str, typer.Option(help="Options of the request as JSON.")] = "{}",
    dataset: Annotated[
        str, typer.Option(help="A file of items, or a data set's name: answer all of it, by a job.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Where the answers to `--dataset` go, a line each.")] = None,
    url: Url = HERE,
    key: Key = "",
) -> None:
    """Ask a model for answers and print them as JSON; or have a whole file answered, into another."""
    if bool(dataset) == bool(inputs):
        fail("give either items, or a file of them as --dataset")
    if dataset:
        if out is None or model is None:
            fail("--dataset needs --model, and --out for the answers")
        _answer_all(remote().Client(url, key), task, dataset, model=model, params=_object(params, "--params"), out=out)
        return
    items = []
    for text in inputs or []:
        try:
            items.append(json.loads(text))
        except json.JSONDecodeError:
            items.append(text)
    options = _object(params, "--params")
    service = remote()
    with service.Client(url, key) as client:
        try:
            terminal().print_json(data=client.predict(task, items, model=model, params=options))
        except service.Problem as problem:
            fail(str(problem))


def _answer_all(client: Client, task: str, dataset: str, *, model: str, params: dict[str, Any], out: Path) -> None:
    """Have every item of a file, or every row of a data set, answered by a job, and fetch the answers."""
    service = remote()
    with client:
        try:
            if Path(dataset).is_file():
                name = service.name_for(Path(dataset))
                dataset = client.upload(Path(dataset), task=task, name=name, of="items")["id"]
            job = service.follow(client, client.bulk(dataset=dataset, model=model, params=params)["id"], terminal())
            if job["state"] != "succeeded":
                fail(_ending(job))
            client.download(job["result"]["href"], out)
        except service.Problem as problem:
            fail(str(problem))
    result = job["result"]
    typer.echo(f"{result['rows']} rows answered, {result['failed']} of them by an error: {out}")


@keys_app.command("create")
def create_key(
    scope: Annotated[str, typer.Option(help=f"One or more of {','.join(SCOPES)}, with commas.")] = "predict",
    name: Annotated[str, typer.Option(help="Whose it is, or what for.")] = "",
) -> None:
    """Make a key and show it, this once."""
    settings = given()
    with database(settings) as opened:
        try:
            made = Keys(opened, settings).create(name, [part.strip() for part in scope.split(",")])
        except ValueError as error:
            fail(str(error))
    say("Keep it: it is not shown again. Send it as `Authorization: Bearer <key>`, or set CELLGATE_KEY.")
    print(made)


@keys_app.command("list")
def list_keys() -> None:
    """Show every key without its secret."""
    settings = given()
    with database(settings) as opened:
        rows = [
            (key.id, key.name, ",".join(key.scopes), _minute(key.created_at), _minute(key.revoked_at))
            for key in Keys(opened, settings).list()
        ]
    tabled(rows, "id", "name", "scopes", "made", "revoked")


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}Z"


@keys_app.command("revoke")
def revoke_key(id: Annotated[str, typer.Argument(help="As `cellgate keys list` shows it.")]) -> None:  # noqa: A002
    """End a key, within seconds everywhere."""
    settings = given()
    with database(settings) as opened:
        try:
            Keys(opened, settings).revoke(id)
        except CellgateError as error:
            fail(error.detail)
    typer.echo(f"key {id} is revoked")


@app.command()
def doctor() -> None:
    """Say what this machine offers and what stands in the way; ends with 1 where something does."""
    found = list(doctors.examined(given()))
    tabled((finding.what, finding.found) for finding in found)
    remedies = [f"{finding.what}: {finding.found}: {finding.remedy}" for finding in found if finding.remedy]
    if remedies:
        fail("\n".join(remedies))


def main() -> None:
    """The `cellgate` command."""
    app()


if __name__ == "__main__":
    main()
