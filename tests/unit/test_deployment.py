"""What is shipped for operators: the chart renders for every set of values into what Kubernetes and KEDA know, the compose file is one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import compose_spec
import helm_python
import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda

from common.config import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CHART = DEPLOY / "helm" / "thresher"
VALUES = ["", *sorted(path.name for path in CHART.glob("values-*.yaml"))]
KUBERNETES = ("1.27", "1.34")


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values=values, name="demo")
    return [document for text in files.values() for document in yaml.safe_load_all(text) if document]


def values_of(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((CHART / name).read_text()) if name else {}
    return document


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def environment(document: dict[str, Any]) -> dict[str, str]:
    (container,) = document["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_renders_into_what_kubernetes_and_keda_know(name: str) -> None:
    documents = rendered(values_of(name))
    kinds = [document["kind"] for document in documents]
    assert kinds.count("Deployment") == 3
    assert "Job" in kinds
    for document in documents:
        group = document["apiVersion"].partition("/")[0]
        if group == "keda.sh":
            getattr(keda, document["kind"]).model_validate(document)
        elif group != "monitoring.coreos.com":
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)
    scaled = of_kind(documents, "ScaledObject")
    assert bool(scaled) is (name != "values-node.yaml")
    # What is scaled exists, and nothing else fixes its replicas.
    for document in scaled.values():
        target = of_kind(documents, "Deployment")[document["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]


def test_the_chart_is_without_faults() -> None:
    report = helm_python.lint(CHART)
    assert not report["errors"]
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("name", VALUES)
def test_services_take_the_environment_the_chart_gives_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable is a setting, with a value it may have."""
    for deployment in of_kind(rendered(values_of(name)), "Deployment").values():
        with monkeypatch.context() as patch:
            for variable, value in environment(deployment).items():
                if variable != "THRESHER_CONFIG":
                    patch.setenv(variable, value or "from-a-secret")
            Settings()
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_a_worker_of_no_service_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match="'painter' is neither downloader nor processor"):
        rendered({"workers": [{"name": "x", "service": "painter", "capabilities": [], "scratch": "1Gi"}]})


def test_monitoring_asks_for_what_is_counted() -> None:
    """Alerts and dashboard name no metric that no service has."""
    from catalogue.metrics import CatalogueMetrics
    from common.metrics import WorkerMetrics

    known = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    for registry in (CatalogueMetrics().registry, WorkerMetrics().registry):
        for family in registry.collect():
            known |= {family.name + suffix for suffix in ("", "_total", "_bucket", "_sum", "_count")}
    rules = of_kind(rendered(values_of("values-team.yaml")), "PrometheusRule")["demo-thresher"]
    expressions = [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    dashboard = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for expression in expressions for name in re.findall(r"\b(?:thresher|process)_[a-z_]+", expression)}
    assert len(named) > 8
    assert named <= known


def test_the_compose_file_is_one() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    given = set(re.findall(r"^(\w+)=", (DEPLOY / "compose.env.example").read_text(), re.MULTILINE))
    assert needed == given, "the example of .env names every variable that must be set"
    plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    plain = re.sub(r"\$\{\w+(:\?[^}]*)?\}", "x", plain)
    options = compose_spec.PyOptions()
    options.apply_merge = True
    compose = options.from_yaml(plain)
    compose.validate()
    document = yaml.safe_load(plain)
    for name in ("catalogue", "downloader", "processor"):
        service = document["services"][name]
        assert service["command"] == ["python", "-P", "-m", name]
        assert service["read_only"] is True
    for config in document["configs"].values():
        assert "file" not in config or (DEPLOY / config["file"]).is_file()


def test_the_image_holds_every_package() -> None:
    import tomllib

    packages = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = re.findall(r"^COPY (\w+) \1$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    assert sorted(copied) == sorted(packages)
