"""deploy/k8s, as far as it can be checked without a cluster: schemas of all kinds, and that names fit together."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as operator

from consumers.encoder import EncoderHandler
from consumers.interest import InterestHandler
from consumers.roles import NAMES
from consumers.scorer import ScorerHandler
from consumers.tuner import TunerHandler
from stream import settings
from stream.admin import ensure_topics, topic_states
from stream.bus import Batch
from stream.kafka_bus import KafkaBus, KafkaSession, wire
from stream.records import Handler, Output
from stream.settings import Kafka, Settings
from stream.topics import DRIFT_ALARMS as ALARMS
from stream.topics import MODEL_VERSIONS, TOPICS
from stream.topics import TRAINING_JOBS as JOBS

ROOT = Path(__file__).parents[1]
K8S = ROOT / "deploy" / "k8s"
BASE, PRODUCTION = "base", "overlays/production"
VERSIONS = ("1.31", kubernetes_validate.latest_version())  # the oldest that deploy/k8s/README.md names, and the newest
MODELS = {
    "ScaledObject": keda.ScaledObject,
    "TriggerAuthentication": keda.TriggerAuthentication,
    "ServiceMonitor": operator.ServiceMonitor,
    "PrometheusRule": operator.PrometheusRule,
}
HANDLERS: dict[str, type[Handler]] = {  # of the roles that KEDA scales
    "encoder": EncoderHandler, "interest": InterestHandler, "scorer": ScorerHandler, "tuner": TunerHandler,
}  # fmt: skip
MECHANISMS = {None: "none", "PLAIN": "plaintext", "SCRAM-SHA-256": "scram_sha256", "SCRAM-SHA-512": "scram_sha512"}
STORED = {"encoder", "interest", "scorer", "tuner"}  # roles that reach the model store

Document = dict[str, Any]


def kustomize() -> list[str]:
    """The command that builds a directory; kubectl 1.27 and newer have kustomize 5 in them."""
    for tool, *build in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(tool):
            ask = [tool, "version", *(["--client"] if tool == "kubectl" else [])]
            said = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
            if re.search(r"^(Kustomize Version: )?v([5-9]|\d\d)\.", said, re.MULTILINE):
                return [tool, *build]
    pytest.skip("needs kustomize 5, or kubectl 1.27 or newer")


@cache
def built(directory: str) -> list[Document]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run([*kustomize(), str(K8S / directory)], capture_output=True, text=True, check=True)
    assert done.stderr == ""  # it warns of what is deprecated
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(directory: str, kind: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in built(directory) if d["kind"] == kind}


def pods(directory: str) -> dict[str, Document]:
    """Templates of pods, by the name of what makes them."""
    makers = of_kind(directory, "StatefulSet") | of_kind(directory, "Job")
    return {name: maker["spec"]["template"] for name, maker in makers.items()}


def container(pod: Document) -> Document:
    (only,) = pod["spec"]["containers"]
    found: Document = only
    return found


def found(part: Any, key: str) -> Iterator[Any]:
    """What stands under `key`, at any depth."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if name == key:
            yield value
        yield from found(value, key)


def selected(directory: str, selector: Document) -> set[str]:
    """Names of the pods that a label selector matches."""

    def matches(labels: dict[str, str]) -> bool:
        rules = selector.get("matchExpressions", [])
        assert all(rule["operator"] == "In" for rule in rules)
        return selector.get("matchLabels", {}).items() <= labels.items() and all(
            labels.get(rule["key"]) in rule["values"] for rule in rules
        )

    return {name for name, pod in pods(directory).items() if matches(pod["metadata"]["labels"])}


def read_settings(directory: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The settings as a consumer reads them from its pod's environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MEANDER_")]:
        monkeypatch.delenv(name)
    (config,) = of_kind(directory, "ConfigMap").values()
    secrets = {entry["name"]: "hush" for entry in container(pods(directory)["scorer"]).get("env", [])}
    for name, value in (config["data"] | secrets).items():
        monkeypatch.setenv(name, value)
    return settings.load()


def check(document: Document) -> None:
    """Hold a document against its schema; a field that the schema does not know is refused."""
    model = MODELS.get(document["kind"])
    if model is None:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
    else:
        kept = model.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert kept == document


@pytest.mark.parametrize("directory", [BASE, PRODUCTION])
def test_resources_fit_their_schemas_before_they_are_patched(directory: str) -> None:
    listed = yaml.safe_load((K8S / directory / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    for name in listed:
        if (K8S / directory / name).is_file():
            for document in yaml.safe_load_all((K8S / directory / name).read_text(encoding="utf-8")):
                check(document)


@pytest.mark.parametrize("directory", [BASE, PRODUCTION])
def test_documents_fit_their_schemas(directory: str) -> None:
    for document in built(directory):
        check(document)
    assert {document["kind"] for document in built(BASE)} >= {"Namespace", "ServiceAccount", "ServiceMonitor"}


@pytest.mark.parametrize("kind", ["StatefulSet", "PodDisruptionBudget", "NetworkPolicy", *MODELS])
def test_a_misspelt_field_is_refused(kind: str) -> None:
    document = next(iter(of_kind(PRODUCTION, kind).values()))
    with pytest.raises((AssertionError, kubernetes_validate.ValidationError)):
        check(document | {"spec": document["spec"] | {"repilcas": 1}})


@pytest.mark.parametrize("directory", [BASE, PRODUCTION])
def test_what_is_named_exists(directory: str) -> None:
    for pod in pods(directory).values():
        assert pod["spec"]["serviceAccountName"] in of_kind(directory, "ServiceAccount")
        sources = container(pod)["envFrom"]
        assert [s["configMapRef"]["name"] for s in sources if "configMapRef" in s] == [*of_kind(directory, "ConfigMap")]
    for consumer in of_kind(directory, "StatefulSet").values():
        assert consumer["spec"]["serviceName"] in of_kind(directory, "Service")
        assert consumer["spec"]["selector"]["matchLabels"].items() <= (
            consumer["spec"]["template"]["metadata"]["labels"].items()
        )
    for scaled in of_kind(directory, "ScaledObject").values():
        assert scaled["spec"]["scaleTargetRef"]["name"] in of_kind(directory, scaled["spec"]["scaleTargetRef"]["kind"])
        for trigger in scaled["spec"]["triggers"]:
            if "authenticationRef" in trigger:
                assert trigger["authenticationRef"]["name"] in of_kind(directory, "TriggerAuthentication")
    (namespace,) = of_kind(directory, "Namespace")
    assert {d["metadata"].get("namespace", namespace) for d in built(directory)} == {namespace}


def test_secrets_are_named_and_never_there() -> None:
    assert not of_kind(PRODUCTION, "Secret")
    references = [*found(built(PRODUCTION), "secretRef"), *found(built(PRODUCTION), "secretKeyRef")]
    references += [entry for entries in found(built(PRODUCTION), "secretTargetRef") for entry in entries]
    told = re.findall(r"create secret generic ([\w-]+)", (K8S / "README.md").read_text(encoding="utf-8"))
    assert {reference["name"] for reference in references} == set(told)


def test_selectors_find_their_pods() -> None:
    def of(kind: str, field: str) -> dict[str, set[str]]:
        return {name: selected(PRODUCTION, d["spec"][field]) for name, d in of_kind(PRODUCTION, kind).items()}

    consumers, everyone = set(NAMES), {*NAMES, "topics"}
    (service,) = of_kind(PRODUCTION, "Service").values()
    assert selected(PRODUCTION, {"matchLabels": service["spec"]["selector"]}) == consumers
    assert of("StatefulSet", "selector") == {name: {name} for name in NAMES}
    assert of("PodDisruptionBudget", "selector") == {name: {name} for name in NAMES if name != "tuner"}
    assert of("NetworkPolicy", "podSelector") == {
        "default-deny": everyone, "kafka": everyone, "store": STORED, "metrics": consumers,
    }  # fmt: skip


def test_prometheus_finds_the_consumers_by_job_and_role() -> None:
    (monitor,) = of_kind(PRODUCTION, "ServiceMonitor").values()
    (service,) = of_kind(PRODUCTION, "Service").values()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "meander"
    (relabelling,) = endpoint["relabelings"]
    assert relabelling["targetLabel"] == "role"
    label = relabelling["sourceLabels"][0].removeprefix("__meta_kubernetes_pod_label_")
    for name in NAMES:
        labels = {re.sub(r"\W", "_", k): v for k, v in pods(PRODUCTION)[name]["metadata"]["labels"].items()}
        assert labels[label] == name


@pytest.mark.parametrize("directory", [BASE, PRODUCTION])
def test_every_variable_is_a_setting(directory: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read = read_settings(directory, monkeypatch, tmp_path)
    assert "://" in read.store.path
    assert (read.kafka.sasl_password is not None) == (read.kafka.security_protocol == "SASL_SSL")
    kafka = of_kind(directory, "NetworkPolicy")["kafka"]["spec"]["egress"][0]
    for server in read.kafka.bootstrap.split(","):
        host, port = server.split(":")
        assert kafka["ports"] == [{"protocol": "TCP", "port": int(port)}]
        assert next(found(kafka, "matchLabels")) == {"kubernetes.io/metadata.name": host.split(".")[1]}


@pytest.mark.parametrize("directory", [BASE, PRODUCTION])
def test_lags_are_those_of_the_consumers(directory: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kafka = read_settings(directory, monkeypatch, tmp_path).kafka
    scaled = of_kind(directory, "ScaledObject")
    assert scaled.keys() == HANDLERS.keys()
    for name, handler in HANDLERS.items():
        read = {wire(kafka, topic): TOPICS[topic].partitions(kafka.partitions) for topic in handler.inputs}
        for trigger in scaled[name]["spec"]["triggers"]:
            asked = trigger["metadata"]
            assert asked["consumerGroup"] == kafka.prefix + name
            assert scaled[name]["spec"]["maxReplicaCount"] == read[asked["topic"]]
            assert asked["offsetResetPolicy"] == "earliest"
            assert asked["bootstrapServersFromEnv"] == "MEANDER_KAFKA__BOOTSTRAP"
            assert asked.get("sasl", "none") == MECHANISMS[kafka.sasl_mechanism]
            assert (asked.get("tls") == "enable") == kafka.security_protocol.endswith("SSL")
            assert ("authenticationRef" in trigger) == (kafka.sasl_mechanism is not None)
    assert {name: d["spec"]["minReplicaCount"] for name, d in scaled.items()} == {
        "encoder": 1, "interest": 1, "scorer": 1, "tuner": 0,
    }  # fmt: skip
    replicas = {name for name, d in of_kind(directory, "StatefulSet").items() if "replicas" in d["spec"]}
    assert replicas == set(NAMES) - scaled.keys()  # KEDA's own would be put back by the next apply


@pytest.mark.parametrize("directory", [BASE, PRODUCTION])
def test_pods_can_do_little(directory: str) -> None:
    for pod in pods(directory).values():
        spec, only = pod["spec"], container(pod)
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert only["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own
        assert [volume["name"] for volume in spec["volumes"] if "emptyDir" in volume] == ["tmp"]
        assert {*only["resources"]["requests"], *only["resources"]["limits"]} == {"cpu", "memory"}


def test_each_role_is_a_consumer_with_probes() -> None:
    assert of_kind(BASE, "StatefulSet").keys() == set(NAMES)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for name in NAMES:
        pod = pods(BASE)[name]
        only = container(pod)
        assert only["args"] == ["run", name]
        assert f"{pod['spec']['terminationGracePeriodSeconds']}s" == compose[name]["stop_grace_period"]
        (port,) = only["ports"]
        asked = {probe: only[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
        assert {get["port"] for get in asked.values()} == {port["name"]}
        assert {probe: get["path"] for probe, get in asked.items()} == {
            "startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz",
        }  # fmt: skip
    assert container(pods(BASE)["topics"])["args"] == ["topics", "--create"]


def test_the_overlay_says_which_image_and_where_versions_lie() -> None:
    assert {container(pod)["image"] for pod in pods(PRODUCTION).values()} == {"meander:0.1.0"}
    for name, pod in pods(PRODUCTION).items():
        assert ({"secretRef": {"name": "meander-store"}} in container(pod)["envFrom"]) == (name in STORED)


def test_rules_are_those_of_prometheus() -> None:
    made = subprocess.run([sys.executable, str(K8S / "rules.py")], capture_output=True, text=True, check=True).stdout
    there = (K8S / "base" / "rules.yaml").read_text(encoding="utf-8")
    assert made == there, "run: python deploy/k8s/rules.py > deploy/k8s/base/rules.yaml"
    sources = [
        yaml.safe_load((ROOT / "deploy" / "prometheus" / f"{n}.yml").read_text()) for n in ("recording", "alerts")
    ]
    assert yaml.safe_load(there)["spec"]["groups"] == [group for source in sources for group in source["groups"]]


@pytest.mark.kafka
def test_a_finished_training_leaves_no_lag_for_keda(kafka: Kafka) -> None:
    """KEDA counts to the end of the log, where the marks of transactions stand, too."""
    ensure_topics(kafka)
    bus, raw = KafkaBus(kafka), KafkaBus(kafka.model_copy(update={"exactly_once": False}))
    trigger, tuner = (bus.open(group, [topic], []) for group, topic in (("trigger", ALARMS), ("tuner", JOBS)))
    for session in (trigger, tuner):
        polled(session, lambda batch: batch.assigned is not None)

    def lag() -> int:
        committed = topic_states(kafka, ["tuner"])[JOBS].committed.get("tuner", {0: 0})
        return raw.ends(JOBS)[0] - committed[0]

    assert lag() == 0  # of a topic that holds nothing: no tuner before the first job
    for job in (b"warm-up", b"refresh"):
        trigger.commit([Output(JOBS, job, b"a job", 0)])
        polled(tuner, lambda batch: len(batch.records) == 1)
        assert lag() > 0  # for as long as it trains
        tuner.commit([Output(MODEL_VERSIONS, job, b"its version", 0)])
        assert lag() == 0
    for each in (trigger, tuner, bus, raw):
        each.close()


def polled(session: KafkaSession, told: Callable[[Batch], bool]) -> None:
    """Poll until there is a batch of which `told` holds."""
    assert any(told(session.poll(0.5)) for _ in range(60))
