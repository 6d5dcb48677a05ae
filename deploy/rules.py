"""What Kubernetes' schemas cannot say about our manifests; each rule has the reason in its message."""

import re
import sys
from urllib.parse import urlsplit

import yaml

SERVICES = {"attention-state": 8471, "routing": 8472, "history": 8473, "email-ingest": 8474, "whatsapp-ingest": 8475}
HARD_CAP_SECONDS = 25
# Ports that each policy lets in and out, whoever the peer; the own services besides. A port more is a hole, one less an outage.
POLICY_PORTS = {
    "default-deny": (set(), set()),
    "services": ({"grpc"}, {53, 4222, 5432, 4317}),
    "public-services": ({"grpc"}, set()),
    "email-ingest": ({"smtp"}, {465, 587, 993}),
    "whatsapp-ingest": ({"webhook"}, {443}),
    "identity-provider": (set(), {443}),
}
KNOWN_KINDS = {
    "ConfigMap", "Deployment", "Job", "Namespace", "NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget",
    "Service", "ServiceAccount",
}


def pod_problems(name, pod):
    container = pod["containers"][0]
    pod_security = pod.get("securityContext", {})
    security = container.get("securityContext", {})
    if pod.get("terminationGracePeriodSeconds", 30) <= HARD_CAP_SECONDS:
        yield f"{name}: the grace period must be longer than the hard cap of {HARD_CAP_SECONDS} s"
    if not pod_security.get("runAsNonRoot") or pod_security.get("runAsUser", 0) == 0:
        yield f"{name}: must not run as root"
    if not security.get("readOnlyRootFilesystem") or security.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: the root file system must be read-only and privileges must not grow"
    if security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield f"{name}: every capability must be dropped"
    if pod_security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{name}: the runtime's seccomp profile must be on"
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{name}: no service needs a token of the Kubernetes API"
    resources = container.get("resources", {})
    if "memory" not in resources.get("limits", {}) or "cpu" not in resources.get("requests", {}):
        yield f"{name}: memory limit and CPU request are required"
    if not re.search(r":[0-9]", container.get("image", "")):
        yield f"{name}: the image needs a version"
    for variable in container.get("env", []):
        if re.search(r"(URL|KEY|SECRET|PASSWORD)$", variable["name"]):
            yield f"{name}: {variable['name']} must come as a file"


def deployment_problems(name, deployment, objects):
    port = SERVICES[name]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    for probe, service in (("livenessProbe", "liveness"), ("readinessProbe", "readiness"), ("startupProbe", "liveness")):
        if container.get(probe, {}).get("grpc") != {"port": port, "service": service}:
            yield f"{name}: {probe} must ask {service} on port {port}"
    if container["args"] != ["run", name, "--config", "/etc/hilo/hilo.yaml"]:
        yield f"{name}: its arguments start another service"
    headless = objects.get(("Service", name))
    if headless is None or headless["spec"].get("clusterIP") != "None":
        yield f"{name}: needs a headless Service, or one pod gets all of a caller's calls"
    if ("PodDisruptionBudget", name) not in objects:
        yield f"{name}: needs a disruption budget"


def selects(selector, labels):
    expressions = selector.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def policy_problems(objects):
    deployments = {name: document["spec"]["template"] for (kind, name), document in objects.items() if kind == "Deployment"}
    for (kind, name), document in objects.items():
        if kind != "NetworkPolicy":
            continue
        spec = document["spec"]
        ports = tuple(
            {port["port"] for rule in spec.get(way, []) for port in rule.get("ports", [])} for way in ("ingress", "egress")
        )
        if POLICY_PORTS.get(name) != ports:
            yield f"NetworkPolicy {name}: lets in {ports[0]} and out {ports[1]}, which is not what rules.py expects of it"
        chosen = [pod for pod in deployments.values() if selects(spec["podSelector"], pod["metadata"]["labels"])]
        if not chosen:
            yield f"NetworkPolicy {name}: selects no Deployment"
        named = {port for port in ports[0] if isinstance(port, str)}
        for pod in chosen:
            has = {port.get("name") for port in pod["spec"]["containers"][0].get("ports", [])}
            if not named <= has:
                yield f"NetworkPolicy {name}: names the ports {named}, of which a container it selects has only {has}"
    config = yaml.safe_load(next(d["data"]["hilo.yaml"] for (kind, _), d in objects.items() if kind == "ConfigMap"))
    for url in (config["nats"]["url"], config["telemetry"]["otlp_endpoint"]):
        if urlsplit(url).port not in POLICY_PORTS["services"][1]:
            yield f"hilo.yaml: {url} is out of reach, since the network policy lets nothing out to its port"


def problems(documents):
    objects = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    for kind, name in objects:
        if kind not in KNOWN_KINDS:
            yield f"{kind} {name}: a kind the validator may not know; add it to rules.py after checking that it does"
    for name in SERVICES:
        deployment = objects.get(("Deployment", name))
        if deployment is None:
            yield f"{name}: has no Deployment"
            continue
        yield from pod_problems(name, deployment["spec"]["template"]["spec"])
        yield from deployment_problems(name, deployment, objects)
    jobs = [document for (kind, _), document in objects.items() if kind == "Job"]
    if len(jobs) != 1:
        yield "there must be one migration Job"
    for job in jobs:
        yield from pod_problems("Job", job["spec"]["template"]["spec"])
    deny = objects.get(("NetworkPolicy", "default-deny"), {}).get("spec", {})
    if deny.get("podSelector") != {} or sorted(deny.get("policyTypes", [])) != ["Egress", "Ingress"]:
        yield "the network policy must deny by default"
    yield from policy_problems(objects)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        documents = [document for document in yaml.safe_load_all(file) if document]
    found = list(problems(documents))
    for problem in found:
        print(f"deploy: {problem}", file=sys.stderr)
    if found:
        sys.exit(1)
    print(f"deploy: {len(documents)} objects rendered, valid and within the rules")


if __name__ == "__main__":
    main()
