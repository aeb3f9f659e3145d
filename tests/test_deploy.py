"""The files for containers, as far as they can be checked without an engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream import settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
ROLES = ["encoder", "interest", "scorer", "trigger", "tuner"]


def services() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = content["services"]
    return found


def dotenv() -> dict[str, str]:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("role", ROLES)
def test_each_consumer_is_a_service_that_waits_for_its_topics(role: str) -> None:
    service = services()[role]
    assert service["command"] == ["run", role]
    assert service["depends_on"]["topics"] == {"condition": "service_completed_successfully"}
    assert "models:/models" in service["volumes"]
    assert int(service["stop_grace_period"].rstrip("s")) > 5  # a consumer may take 5 s to finish its batch


def test_all_run_one_image_and_the_broker_is_reachable_from_this_machine_alone() -> None:
    assert {services()[role]["image"] for role in [*ROLES, "topics"]} == {"meander:${TAG:-latest}"}
    assert [port.split(":")[0] for port in services()["kafka"]["ports"]] == ["127.0.0.1"]


def test_every_variable_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MEANDER_")]:
        monkeypatch.delenv(name)
    image = dict(re.findall(r"^\s+(MEANDER_\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
    for name, value in {**image, **dotenv(), **services()["scorer"]["environment"]}.items():
        monkeypatch.setenv(name, str(value))
    read = settings.load()
    assert (read.kafka.bootstrap, read.http.port, read.store.path) == ("kafka:9092", 8080, "/models")


def test_the_image_holds_every_package() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for package in packages:
        assert f"COPY {package} {package}\n" in DOCKERFILE
        assert f"!{package}" in allowed


def test_a_container_is_an_instance_of_its_own(tmp_path: Path) -> None:
    meander = tmp_path / "meander"
    meander.write_text('#!/bin/sh\necho "$MEANDER_KAFKA__INSTANCE: $*"\n')
    meander.chmod(0o755)
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def says(**more: str) -> str:
        command = [*json.loads(entry), "run", "a b"]
        return subprocess.run(command, env=env | more, capture_output=True, text=True, check=True).stdout.strip()

    assert says() == f"{os.uname().nodename}: run a b"
    assert says(MEANDER_KAFKA__INSTANCE="7") == "7: run a b"
