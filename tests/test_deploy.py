"""The files for containers, as far as they can be checked without an engine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumers import children
from stream import settings
from stream.topics import TOPICS
from tests.conftest import wait_for_broker

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROLES = ["encoder", "interest", "scorer", "trigger", "tuner"]
ONCE = ["topics", "demo"]  # these end


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return content


SERVICES: dict[str, Any] = compose()["services"]


def dotenv() -> dict[str, str]:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(text: str, values: dict[str, str]) -> str:
    """Put values, or else their defaults, where a compose file has ${NAME:-default}."""
    return re.sub(r"\$\{(\w+):-(.*?)\}", lambda found: values.get(found[1]) or found[2], text)


def run_tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("role", ROLES)
def test_each_consumer_is_a_service_that_waits_for_its_topics(role: str) -> None:
    service = SERVICES[role]
    assert service["command"] == ["run", role]
    assert service["depends_on"]["topics"] == {"condition": "service_completed_successfully"}
    assert SERVICES["topics"]["depends_on"]["kafka"] == {"condition": "service_healthy"}
    assert ("models:/models" in service.get("volumes", [])) == (role in {"interest", "scorer", "tuner"})
    assert int(service["stop_grace_period"].rstrip("s")) > 5  # a consumer may take 5 s to finish its batch
    assert "healthcheck" not in service  # the image's


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert any(re.match("/tmp:mode=1777,size=", tmpfs) for tmpfs in service["tmpfs"])  # noqa: S108 - in a container
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    if name not in ROLES:
        assert ("test" in service["healthcheck"]) == (name not in ONCE)


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_this_machines_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, _, mode = mount.partition(":")
        if source.startswith("./"):
            assert (ROOT / source).is_dir()
            assert mode.endswith(":ro")
        elif mode:
            assert source in compose()["volumes"]


def test_prometheus_and_grafana_read_the_files_of_the_repository() -> None:
    assert "./deploy/prometheus:/etc/prometheus:ro" in SERVICES["prometheus"]["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in SERVICES["grafana"]["volumes"]
    for path in (provisioning / "dashboards").glob("*.y*ml"):
        for provider in yaml.safe_load(path.read_text(encoding="utf-8"))["providers"]:
            assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = scraped["scrape_configs"]
    assert sorted(job["dns_sd_configs"][0]["names"]) == ROLES  # names of services
    assert [f"{found['port']}" for found in job["dns_sd_configs"]] == SERVICES["scorer"]["expose"]


def test_a_training_cannot_starve_the_scorer() -> None:
    shares = {name: SERVICES[name]["cpu_shares"] for name in SERVICES if name not in {"topics"}}
    assert shares["scorer"] == max(shares.values())
    assert shares["tuner"] == min(shares.values()) <= shares["scorer"] / 16


def test_all_of_meander_runs_one_image_that_is_built_once() -> None:
    ours = [*ROLES, *ONCE]
    assert {SERVICES[name]["image"] for name in ours} == {"meander:${TAG:-latest}"}
    assert [name for name in SERVICES if "build" in SERVICES[name]] == ["topics"]
    arguments = set(SERVICES["topics"]["build"]["args"])
    assert arguments <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))


def test_images_are_pinned_and_dotenv_names_what_compose_takes() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    taken = set(re.findall(r"\$\{(\w+):-", text))
    assert taken == {name for name in dotenv() if not name.startswith("MEANDER_")}
    for name in ("kafka", "prometheus", "grafana"):
        repository, tag = filled(SERVICES[name]["image"], dotenv()).rsplit(":", 1)
        assert filled(SERVICES[name]["image"], {}) == f"{repository}:{tag}"
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)
        assert repository.count("/") == 1
    assert dotenv()["TAG"] == PROJECT["project"]["version"]


def test_no_account_of_grafana_and_no_password_anywhere() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    texts = (ROOT / ".env").read_text(encoding="utf-8") + (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert re.findall(r"(?i)^\s*\w*(?:password|secret|token)\w*\s*[:=]\s*\S+", texts, re.MULTILINE) == []


def test_the_demo_plays_what_the_wheel_carries_and_only_on_request() -> None:
    from typer.testing import CliRunner

    import meander

    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["demo"]
    assert SERVICES["demo"]["profiles"] == ["demo"]
    command = [filled(word, dotenv()) for word in SERVICES["demo"]["command"]]
    assert command[:4] == ["produce", "replay", "--dataset", "online-retail"]
    parsed = CliRunner().invoke(meander.app, [*command, "--config", "absent.toml"])
    assert "absent.toml must exist" in str(parsed.exception)  # all options are known


def test_every_variable_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MEANDER_")]:
        monkeypatch.delenv(name)
    image = dict(re.findall(r"^\s+(MEANDER_\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
    for name, value in {**image, **dotenv(), **SERVICES["scorer"]["environment"]}.items():
        monkeypatch.setenv(name, str(value))
    read = settings.load()
    assert (read.kafka.bootstrap, read.http.port, read.store.path) == ("kafka:9092", 8080, "/models")


def test_the_image_holds_every_package() -> None:
    packages = PROJECT["tool"]["setuptools"]["packages"]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for package in packages:
        assert f"COPY {package} {package}\n" in DOCKERFILE
        assert f"!{package}" in allowed
    for copied in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert {f"!{name}" for name in copied.split()} <= set(allowed)


def test_the_image_runs_as_a_numbered_user_who_owns_no_code() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)$", last, re.MULTILINE) == ["10001:10001"]
    assert "--chown" not in last
    assert "\n    HOME=/tmp \\\n" in last


@pytest.mark.parametrize(
    ("variant", "cuda", "refused"),
    [
        ("", "None", ""),
        ("", "'13.0'", ""),
        ("cpu", "None", ""),
        ("cuda", "'13.0'", ""),
        ("cpu", "'13.0'", "torch is built for CUDA 13.0, not VARIANT=cpu: name an index of CPU builds"),
        ("cuda", "None", "torch is built without CUDA, not VARIANT=cuda: name an index of CUDA builds"),
        ("rocm", "None", "VARIANT must be cpu, cuda or empty, got rocm"),
    ],
)
def test_a_build_of_torch_that_is_not_the_variant_is_refused(
    variant: str, cuda: str, refused: str, tmp_path: Path
) -> None:
    version = tmp_path / "lib" / "python3.11" / "site-packages" / "torch" / "version.py"
    version.parent.mkdir(parents=True)
    version.write_text(f"__all__ = ['cuda']\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n")
    (check,) = re.findall(r"^RUN (CUDA=.*?esac)$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    script = check.replace("\\\n", "").replace("/opt/meander", str(tmp_path))
    done = subprocess.run(["sh", "-c", script], env={"VARIANT": variant}, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if refused else 0)
    assert done.stderr.startswith(refused)
    assert done.stderr.count("\n") == (1 if refused else 0)


def test_extras_are_installed_by_name() -> None:
    (code,) = re.findall(r'python -c "(import sys, tomllib;.*?)" \\\n', DOCKERFILE, re.DOTALL)
    command = [sys.executable, "-c", code.replace("\\\n", "")]
    needs = PROJECT["project"]["dependencies"]
    assert run_tool(*command, "").stdout.splitlines() == needs
    embedded = PROJECT["project"]["optional-dependencies"]["embedded"]
    assert run_tool(*command, "embedded").stdout.splitlines() == needs + embedded
    assert "KeyError: 's4'" in run_tool(*command, "s4").stderr


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


def test_health_is_what_the_process_says() -> None:
    from prometheus_client import CollectorRegistry

    from consumers.http import HttpServer

    (check,) = re.findall(r"^HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    program, option, code = json.loads(check)
    assert (program, option) == ("python", "-c")
    with HttpServer(settings.Http(), CollectorRegistry(), ready=lambda: False) as server:
        port = server.address.rpartition(":")[2]
        assert run_tool(sys.executable, "-c", code.replace("8080", port)).returncode == 0
        unknown = code.replace("8080", port).replace("/healthz", "/absent")
        assert run_tool(sys.executable, "-c", unknown).returncode == 1
    assert run_tool(sys.executable, "-c", code.replace("8080", port)).returncode == 1


@pytest.mark.kafka
def test_the_topics_service_succeeds_on_a_fresh_broker_with_the_composed_environment(tmp_path: Path) -> None:
    """Kafka's image makes its properties of the variables with a class of the broker, and formats with them."""
    home, java = os.environ.get("KAFKA_HOME"), shutil.which("java")
    if not home or java is None:
        pytest.skip("needs Java 17 and KAFKA_HOME, a directory with Apache Kafka's libs/*.jar")
    environment = on_loopback(SERVICES["kafka"]["environment"]) | {"KAFKA_LOG_DIRS": str(tmp_path / "data")}
    base = [java, "-Xmx512m", "-cp", f"{home}/libs/*"]
    absent, final = str(tmp_path / "absent"), str(tmp_path)
    configs = ["--default-configs-dir", absent, "--mounted-configs-dir", absent, "--final-configs-dir", final]
    setup = [*base, "kafka.docker.KafkaDockerWrapper", "setup", *configs]
    done = subprocess.run(setup, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kafka = settings.Kafka(bootstrap=environment["KAFKA_ADVERTISED_LISTENERS"].split(",")[0].partition("://")[2])
    broker = children.start([*base, "kafka.Kafka", str(tmp_path / "server.properties")], tmp_path / "broker.log")
    try:
        wait_for_broker(kafka, broker, tmp_path / "broker.log")
        done = run_tool(sys.executable, "-m", "meander", *SERVICES["topics"]["command"], "--bootstrap", kafka.bootstrap)
    finally:
        children.stop([broker])
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == set(TOPICS)


def on_loopback(environment: dict[str, Any]) -> dict[str, str]:
    """The broker's variables with free ports of loopback in place of those in its container."""
    text = json.dumps({name: filled(str(value), dotenv()) for name, value in environment.items()})
    text = re.sub(r"(?<=://):|\b(?:kafka|localhost):", "127.0.0.1:", text)
    for port in ("29092", "9092", "9093"):
        text = re.sub(rf"(?<=127\.0\.0\.1:){port}\b", str(children.free_port()), text)
    found: dict[str, str] = json.loads(text)
    return found


def test_compose_keeps_to_its_specification() -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("needs check-jsonschema: pip install 'meander[dev]'")
    schema = ["--builtin-schema", "vendor.compose-spec"]
    done = run_tool(sys.executable, "-m", "check_jsonschema", *schema, "docker-compose.yml")
    assert done.returncode == 0, done.stdout


def test_compose_reads_its_file() -> None:
    if shutil.which("docker") is None or run_tool("docker", "compose", "version").returncode != 0:
        pytest.skip("needs docker with its compose plugin")
    done = run_tool("docker", "compose", "--profile", "demo", "config", "--quiet")
    assert done.returncode == 0, done.stderr


def test_the_dockerfile_keeps_to_good_practice() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("needs hadolint: pip install 'meander[dev]'")
    done = run_tool(hadolint, "deploy/Dockerfile")
    assert done.returncode == 0, done.stdout
