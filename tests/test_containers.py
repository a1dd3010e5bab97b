"""What the container files promise, read as text: they agree with the code, with each other, and hold no secret. Runs no engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from app import cli
from app.settings import load
from tests.app import served
from tests.service import ROOT

Instruction = tuple[str, str]

PASSWORD = "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}"


def instructions() -> list[Instruction]:
    """Of the Dockerfile, each on one line."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def image() -> dict[str, str]:
    """The last of each instruction of the image that is kept."""
    found = instructions()
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return dict(found[last:])


def environment(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


def ours() -> dict[str, dict[str, Any]]:
    """The services that run our image."""
    return {name: service for name, service in compose()["services"].items() if "build" in service}


# the image


def test_any_base_may_be_asked_for() -> None:
    found = instructions()
    bases = [rest.split()[0] for name, rest in found if name == "FROM"]
    assert set(bases) == {"${BASE}"}
    assert found[0][0] == "ARG"
    assert re.fullmatch(r"BASE=\S+:\S+", found[0][1])


def test_the_image_runs_as_a_user_who_owns_its_home_and_is_not_root() -> None:
    kept, settings = image(), environment(image()["ENV"])
    user, group = map(int, kept["USER"].split(":"))
    assert user > 0
    assert group > 0
    assert f"--uid {user} " in kept["RUN"]
    assert f"install -d -o cellgate -g cellgate {settings['CELLGATE_HOME']}" in kept["RUN"]
    assert kept["VOLUME"] == settings["CELLGATE_HOME"]


def test_what_is_copied_is_there_and_sent_to_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, source


def test_the_health_check_asks_what_the_api_answers_without_a_key(tmp_path: Path) -> None:
    kept = image()
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/[a-z/]+)", kept["HEALTHCHECK"])
    assert found is not None
    assert int(found[1]) == load({}).port == int(kept["EXPOSE"])
    services = served.services(tmp_path / "home")
    services.keys.create("ops", ["admin"])
    with served.client(services) as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get(found[2]).status_code == 200


# the services


def test_every_service_of_ours_is_the_same_image() -> None:
    assert set(ours()) == {"migrate", "api", "worker"}
    for key in ("image", "build", "environment", "volumes"):
        assert len({json.dumps(service[key], sort_keys=True) for service in ours().values()}) == 1, key
    arguments = {rest.split("=")[0] for name, rest in instructions() if name == "ARG"}
    assert set(ours()["api"]["build"]["args"]) <= arguments


@pytest.mark.parametrize(
    "command",
    [json.loads(image()["CMD"]), *(service["command"] for service in ours().values()), ["keys", "create"]],
    ids=" ".join,
)
def test_every_command_is_one_of_cellgates(command: list[str]) -> None:
    assert json.loads(image()["ENTRYPOINT"]) == ["cellgate"]
    assert CliRunner().invoke(cli.app, [*command, "--help"]).exit_code == 0


def test_every_variable_is_a_setting() -> None:
    variables = {**environment(image()["ENV"]), **ours()["api"]["environment"]}
    settings = load({name: value.replace(PASSWORD, "p") for name, value in variables.items()})
    assert settings.host == "0.0.0.0", "nothing else is reached from outside the container"  # noqa: S104
    assert settings.database_url == "postgresql://cellgate:p@postgres:5432/cellgate"
    assert settings.workers == 0, "the service `worker` runs them"


def test_volumes_are_declared_and_keep_what_has_to_stay() -> None:
    declared = set(compose()["volumes"])
    mounted = [volume.split(":") for service in compose()["services"].values() for volume in service["volumes"]]
    assert {name for name, _ in mounted} == declared
    assert ours()["api"]["volumes"] == [f"data:{image()['VOLUME']}"]


def test_services_wait_for_those_that_can_say_they_are_ready() -> None:
    services = compose()["services"]
    for service in ours().values():
        for other, wait in service["depends_on"].items():
            assert other in services
            if wait["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"]
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert services[other]["restart"] == "no", "it would be started again for ever"


def test_the_health_check_of_the_image_is_kept_by_the_api_alone() -> None:
    disabled = {name for name, service in ours().items() if service.get("healthcheck") == {"disable": True}}
    assert disabled == set(ours()) - {"api"}


def test_no_secret_stands_in_the_files_and_none_is_made_up() -> None:
    for service in compose()["services"].values():
        for name, value in service["environment"].items():
            if "PASSWORD" in name:
                assert value == PASSWORD
            if "://" in value:
                assert re.search(r"://[^:/@]+:(.+)@", value)[1] == PASSWORD  # type: ignore[index]
    for name, rest in instructions():
        if name in {"ARG", "ENV"}:
            assert not re.search(r"PASSWORD|SECRET|TOKEN|KEY|://", rest)


def test_only_the_api_is_reached_and_from_this_machine() -> None:
    ports = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    assert ports == {"api": [f"127.0.0.1:{load({}).port}:{image()['EXPOSE']}"]}


def test_gpus_only_add_to_what_is_there() -> None:
    base, added = compose()["services"], compose("docker-compose.gpu.yml")
    assert set(added) == {"services"}
    assert set(added["services"]) == {"api", "worker"}
    for name, service in added["services"].items():
        assert not set(service) & set(base[name]), name
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
