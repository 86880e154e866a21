"""deploy/kubernetes: valid for Kubernetes and KEDA, whole in itself, and true of the software."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from celery import Celery
from dockerfile_parse import DockerfileParser
from kombu.entity import Queue
from kombu.transport.redis import Channel
from prometheus_client import Gauge

from processes.redis_server import RedisServer, running_redis
from service.commands.arguments import build_parser
from service.routes import operations
from service.settings import Settings
from service.watching.metrics import Metrics
from tests.kustomizing import Document, built, documents, pod_of
from tests.worker.jobs.redis.submitting import JOB, pictures, record
from worker.jobs.coordination.queue import CHUNKS, make_celery
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings
from worker.process import parts
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[1]
FILES = ROOT / "deploy/kubernetes"
OVERLAYS = ["pvc", "s3"]
KUBERNETES = ["1.32", "1.37"]
MODELS = {
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
}
SETTINGS: dict[str, type[JobSettings]] = {"service": Settings, "worker": WorkerSettings}
NOT_OURS = {"OMP_NUM_THREADS", "AWS_REGION", "REDIS_PASSWORD", "REDISCLI_AUTH"}
# Keys of Secrets, which people make as docs/operations.md says.
SECRETS = {
    "gradcam-redis": {"password"},
    "gradcam-keys": {"api-keys", "view-secret"},
    "gradcam-metrics": {"key"},
    "gradcam-s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
}
RULE = "jobs > 0 ? waiting + taken : 0"


@pytest.fixture(scope="module", params=OVERLAYS)
def made(request: pytest.FixtureRequest) -> list[Document]:
    """All documents of an overlay."""
    return built(FILES / "overlays" / request.param)


def of_kind(made: list[Document], kind: str) -> dict[str, Document]:
    """By name."""
    return {d["metadata"]["name"]: d for d in made if d["kind"] == kind}


def pods(made: list[Document]) -> dict[str, Document]:
    """What makes pods, by the name of its only container."""
    makers = [document for document in made if pod_of(document)]
    return {container_of(maker)["name"]: maker for maker in makers}


def container_of(maker: Document) -> Document:
    [container] = pod_of(maker)["containers"]
    assert isinstance(container, dict)
    return container


def labels_of(maker: Document) -> dict[str, str]:
    labels: dict[str, str] = maker["spec"]["template"]["metadata"]["labels"]
    return labels


# Valid.


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(made: list[Document], version: str) -> None:
    its_own = [document for document in made if document["apiVersion"] not in MODELS]
    assert len(its_own) > 15
    for document in its_own:
        kubernetes_validate.validate(document, version, strict=True)


def test_keda_and_the_prometheus_operator_know_every_field(made: list[Document]) -> None:
    others = [document for document in made if document["apiVersion"] in MODELS]
    assert len(others) == 3
    for document in others:
        model = getattr(importlib.import_module(MODELS[document["apiVersion"]]), document["kind"])
        read = model.model_validate(document)
        assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == document


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_makes_the_same(overlay: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl")
    command = [kubectl, "kustomize", str(FILES / "overlays" / overlay)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    theirs = {name_of(document): document for document in yaml.safe_load_all(told)}
    assert {name_of(d): d for d in built(FILES / "overlays" / overlay)} == theirs


def name_of(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_every_file_is_used() -> None:
    used = {
        (folder / name).resolve()
        for folder in (file.parent for file in FILES.rglob("kustomization.yaml"))
        for [said] in [documents(folder / "kustomization.yaml")]
        for name in [*said.get("resources", []), *said.get("components", [])]
    }
    there = {file.resolve() for file in FILES.rglob("*") if file.is_file()}
    assert {file for file in there if file.name != "kustomization.yaml"} <= used


# Whole in itself.


def test_what_is_referred_to_is_there(made: list[Document]) -> None:
    config_maps, claims = of_kind(made, "ConfigMap"), of_kind(made, "PersistentVolumeClaim")
    for maker in pods(made).values():
        container, spec = container_of(maker), pod_of(maker)
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        own_claims = maker["spec"].get("volumeClaimTemplates", [])
        volumes |= {claim["metadata"]["name"]: {} for claim in own_claims}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in claims
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                assert source["configMapRef"]["name"] in config_maps
            else:
                assert source["secretRef"]["name"] in SECRETS
        for variable in container.get("env", []):
            if source := variable.get("valueFrom"):
                reference = source["secretKeyRef"]
                assert reference["key"] in SECRETS[reference["name"]]
    used = {claim["claimName"] for claim in claims_of(made)}
    assert used == set(claims)


def claims_of(made: list[Document]) -> Iterator[Document]:
    for maker in pods(made).values():
        for volume in pod_of(maker).get("volumes", []):
            if "persistentVolumeClaim" in volume:
                yield volume["persistentVolumeClaim"]


def test_services_and_probes_name_ports_that_there_are(made: list[Document]) -> None:
    by_label = {labels_of(maker)["app.kubernetes.io/name"]: maker for maker in pods(made).values()}
    for service in of_kind(made, "Service").values():
        maker = by_label[service["spec"]["selector"]["app.kubernetes.io/name"]]
        ports = {port["name"] for port in container_of(maker)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for maker in pods(made).values():
        container = container_of(maker)
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            how = container.get(probe, {})
            aim = how.get("httpGet") or how.get("tcpSocket")
            assert aim is None or aim["port"] in ports
    [monitor] = of_kind(made, "PodMonitor").values()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in container_of(by_label["service"])["ports"]}
    credentials = endpoint["authorization"]["credentials"]
    assert credentials["key"] in SECRETS[credentials["name"]]


def test_selectors_select_pods(made: list[Document]) -> None:
    every = [labels_of(maker) for maker in pods(made).values()]
    selectors = list(selectors_in(made))
    assert len(selectors) > 10
    for selector in selectors:
        assert any(selects(selector, labels) for labels in every), selector
    for maker in pods(made).values():
        assert selects(maker["spec"]["selector"], labels_of(maker))


def selectors_in(made: list[Document]) -> Iterator[Document]:
    for document in made:
        spec = document.get("spec", {})
        if document["kind"] == "Service":
            yield {"matchLabels": spec["selector"]}
        elif "selector" in spec:
            yield spec["selector"]
        if document["kind"] == "NetworkPolicy":
            yield spec["podSelector"]
            for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
                for peer in [*rule.get("from", []), *rule.get("to", [])]:
                    if "podSelector" in peer:
                        yield peer["podSelector"]


def selects(selector: Document, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    among = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in among)
    return wanted and all(labels.get(e["key"]) in e["values"] for e in among)


def test_scaled_deployments_are_there_and_do_not_say_how_many(made: list[Document]) -> None:
    deployments = of_kind(made, "Deployment")
    [hpa] = of_kind(made, "HorizontalPodAutoscaler").values()
    [scaled] = of_kind(made, "ScaledObject").values()
    targets = {hpa["spec"]["scaleTargetRef"]["name"], scaled["spec"]["scaleTargetRef"]["name"]}
    assert targets == set(deployments)
    assert not any("replicas" in deployment["spec"] for deployment in deployments.values())
    assert hpa["spec"]["minReplicas"] == 2
    assert scaled["spec"]["minReplicaCount"] == 0
    alone = pods(built(FILES / "base"))
    assert alone["service"]["spec"]["replicas"] == 2


def test_all_of_it_is_in_one_namespace(made: list[Document]) -> None:
    [namespace] = of_kind(made, "Namespace")
    assert {d["metadata"].get("namespace", namespace) for d in made} == {namespace}
    service, redis = pods(made)["service"], of_kind(made, "Service")["gradcam-redis"]
    [port] = redis["spec"]["ports"]
    address = f"gradcam-redis:{port['port']}"
    urls = {v["name"]: v["value"] for v in container_of(service)["env"] if "value" in v}
    assert all(f"@{address}/" in url for url in urls.values())
    for trigger in triggers_of(made).values():
        assert trigger["address"] == f"gradcam-redis.{namespace}.svc:{port['port']}"
        assert urls["GRADCAM_REDIS_URL"].endswith(f"/{trigger['databaseIndex']}")


# Secrets and rights.


def test_no_secret_is_in_any_file(made: list[Document]) -> None:
    assert "Secret" not in {document["kind"] for document in made}
    for maker in pods(made).values():
        for variable in container_of(maker).get("env", []):
            if re.search("KEY|SECRET|PASSWORD|AUTH", variable["name"]):
                assert "value" not in variable
            password = re.search(r"://:?([^@/]+)@", variable.get("value", ""))
            assert password is None or password[1] == "$(REDIS_PASSWORD)"
    for config_map in of_kind(made, "ConfigMap").values():
        assert not [name for name in config_map["data"] if re.search("KEY|SECRET|PASSW", name)]


def test_pods_have_few_rights(made: list[Document]) -> None:
    for maker in pods(made).values():
        spec, container = pod_of(maker), container_of(maker)
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["automountServiceAccountToken"] is False
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile.gpu").read_text(), re.M)
    assert user is not None
    for name in SETTINGS:
        rights = pod_of(pods(made)[name])["securityContext"]
        assert (rights["runAsUser"], rights["runAsGroup"]) == (int(user[1]), int(user[2]))
        mounts = container_of(pods(made)[name])["volumeMounts"]
        assert {"name": "tmp", "mountPath": "/tmp"} in mounts  # noqa: S108


# True of the software.


def environment_of(made: list[Document], name: str) -> dict[str, str]:
    """A container's variables; of those from Secrets something that may stand there."""
    container = container_of(pods(made)[name])
    environment: dict[str, str] = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            environment |= of_kind(made, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for variable in container["env"]:
        environment[variable["name"]] = variable.get("value", "sha256:" + 64 * "0")
    return environment


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_is_a_setting_and_has_a_value_that_it_takes(
    made: list[Document], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = environment_of(made, name)
    fields = {f"GRADCAM_{field.upper()}" for field in SETTINGS[name].model_fields}
    assert set(environment) - NOT_OURS <= fields
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    settings = SETTINGS[name]()
    assert (settings.output_root is None) != (settings.output_store is None)
    mounts = {mount["mountPath"] for mount in container_of(pods(made)[name])["volumeMounts"]}
    assert {str(path) for path in (settings.data, settings.output_root) if path} <= mounts


def test_the_service_is_given_time_to_end(made: list[Document]) -> None:
    environment = environment_of(made, "service")
    drain = float(environment["GRADCAM_DRAIN_SECONDS"])
    request = float(environment["GRADCAM_REQUEST_TIMEOUT_SECONDS"])
    assert pod_of(pods(made)["service"])["terminationGracePeriodSeconds"] >= drain + request + 10
    probe = container_of(pods(made)["service"])["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < drain
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    grace = pod_of(pods(made)["worker"])["terminationGracePeriodSeconds"]
    assert compose["worker-gpu"]["stop_grace_period"] == f"{grace}s"


def test_commands_and_images_are_those_of_the_container_files(made: list[Document]) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    with (ROOT / "Dockerfile.gpu").open("rb") as file:
        parser = DockerfileParser(fileobj=file)
        command, content = parser.cmd, parser.content
    service, worker = (container_of(pods(made)[name]) for name in ("service", "worker"))
    assert command == str(service["args"]).replace("'", '"')
    assert service["args"] == compose["api"]["command"]
    assert worker["args"] == compose["worker-gpu"]["command"]
    assert "ENTRYPOINT" not in content
    for args in (service["args"], worker["args"]):
        assert args[0] == "gradcam"
        build_parser().parse_args(args[1:])
    [port] = service["ports"]
    assert str(port["containerPort"]) in service["args"]
    assert service["image"] == worker["image"]
    redis = container_of(pods(made)["redis"])
    assert redis["image"] == compose["redis"]["image"]
    words = " ".join(redis["args"])
    assert "--appendonly yes" in words
    assert "--maxmemory-policy noeviction" in words


def test_probes_ask_for_addresses_that_there_are(made: list[Document]) -> None:
    container = container_of(pods(made)["service"])
    routes = {getattr(route, "path", "") for route in operations.router.routes}
    asked = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness")}
    assert asked == {"/healthz"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    [monitor] = of_kind(made, "PodMonitor").values()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert {"/healthz", "/readyz", endpoint["path"]} <= routes


def test_the_service_is_scaled_by_a_gauge_that_it_has(made: list[Document]) -> None:
    [hpa] = of_kind(made, "HorizontalPodAutoscaler").values()
    [metric] = hpa["spec"]["metrics"]
    gauge = Metrics().in_flight
    assert isinstance(gauge, Gauge)
    assert [family.name for family in gauge.collect()] == [metric["pods"]["metric"]["name"]]
    most = float(environment_of(made, "service")["GRADCAM_MAX_IN_FLIGHT"])
    assert float(metric["pods"]["target"]["averageValue"]) < most


def triggers_of(made: list[Document]) -> dict[str, dict[str, str]]:
    [scaled] = of_kind(made, "ScaledObject").values()
    [authentication] = of_kind(made, "TriggerAuthentication")
    triggers = scaled["spec"]["triggers"]
    assert all(trigger["authenticationRef"]["name"] == authentication for trigger in triggers)
    return {trigger["name"]: trigger["metadata"] for trigger in triggers}


def test_workers_are_scaled_by_keys_that_the_software_uses(made: list[Document]) -> None:
    [scaled] = of_kind(made, "ScaledObject").values()
    assert scaled["spec"]["advanced"]["scalingModifiers"]["formula"] == RULE
    lists = {name: trigger["listName"] for name, trigger in triggers_of(made).items()}
    prefix = environment_of(made, "service")["GRADCAM_REDIS_PREFIX"]
    assert lists == {
        "waiting": CHUNKS,
        "taken": Channel.unacked_key,
        "jobs": f"{prefix}:active",
    }


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as server:
        yield server


def test_there_are_as_many_workers_as_chunks_until_there_are_enough(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """The rule on the real queue, with workers that take a chunk each and do not end."""
    settings = JobSettings(data=tmp_path, redis_url=redis_server.url)
    store, coordinator, _ = parts(settings)
    app = make_celery(redis_server.url)
    assert wanted_workers(store) == 0
    store.create(record(models=1, images=640), pictures(640))  # ten chunks of 64
    numbers, steps = count(), [0]
    with Taking(app) as taking:
        for _ in range(6):
            coordinator.dispatch()
            steps.append(wanted_workers(store))
            for number in [next(numbers) for _ in range(steps[-1] - steps[-2])]:
                store.beat(f"worker{number}")
                taking.one()
        assert steps == [0, 2, 4, 8, 10, 10, 10]
        store.cancel(JOB)
        coordinator.finish_if_done(JOB)
        assert store.client.hlen(Channel.unacked_key) == 10
        assert wanted_workers(store) == 0


def wanted_workers(store: JobStore) -> int:
    """RULE as KEDA works it out."""
    waiting, taken = store.client.llen(CHUNKS), store.client.hlen(Channel.unacked_key)
    return int(waiting + taken) if store.client.zcard("gradcam:active") else 0


class Taking:
    """Takes messages as workers do, which acknowledge them at the end of their chunks."""

    def __init__(self, app: Celery) -> None:
        self._connection = app.connection_for_read()

    def __enter__(self) -> Taking:
        return self

    def one(self) -> None:
        queue = Queue(CHUNKS, routing_key=CHUNKS)(self._connection.channel())
        assert queue.get() is not None

    def __exit__(self, *_: Any) -> None:
        self._connection.close()


# Documented.


def test_each_setting_and_each_secret_is_explained(made: list[Document]) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    section = page.partition("\n## On Kubernetes\n")[2].partition("\n## ")[0]
    names = {
        name for config_map in of_kind(made, "ConfigMap").values() for name in config_map["data"]
    }
    names |= {name for secret, keys in SECRETS.items() for name in {secret, *keys}}
    names |= {"GRADCAM_REDIS_URL", "GRADCAM_RATE_LIMIT_STORAGE"}
    assert {name for name in names if f"`{name}`" not in section} == set()
