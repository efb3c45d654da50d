"""Facts that the manifests of deploy/ share with each other, with the Dockerfile and with the program."""

import copy
import re

from dockerfile import stages
from support import DEPLOY, Failure

# What a scaler asks for that begins as the server's metrics do, without being one.
METRIC = re.compile(r"\beffnet_[a-z_]+")
POD_KINDS = {"Deployment", "Job", "ClusterServingRuntime"}
# Beside the drain and the longest answer: late bodies have two seconds, and the machine may be slow.
SPARE_S = 5


class Manifests:
    """All documents of deploy/, by file."""

    def __init__(self, files):
        self.files = files

    def of(self, *kinds):
        """(file, document) of these kinds."""
        return [
            (name, each) for name, documents in self.files.items() for each in documents if each.get("kind") in kinds
        ]

    def one(self, kind):
        """The only document of a kind."""
        found = self.of(kind)
        if len(found) != 1:
            raise Failure(f"{len(found)} documents of kind {kind}, expected one")
        return found[0][1]

    def mutated(self, file, change):
        """The same with a change of one file's documents."""
        files = copy.deepcopy(self.files)
        change(files[file])
        return Manifests(files)

    def pods(self):
        """(where, pod spec, its labels) of everything that runs the program, the patched Deployment too."""
        found = []
        for name, each in self.of(*POD_KINDS):
            if each["kind"] == "ClusterServingRuntime":
                found.append((f"{name}: {each['metadata']['name']}", each["spec"], {}))
            else:
                template = each["spec"]["template"]
                found.append((name, template["spec"], template["metadata"]["labels"]))
        patch = self.files.get("kubernetes/gpu.yaml")
        if patch:
            template = patched(self.one("Deployment"), patch[0])["spec"]["template"]
            found.append(("kubernetes/gpu.yaml", template["spec"], template["metadata"]["labels"]))
        return found


def patched(document, patch):
    """A document with a strategic merge patch: mappings merge, containers by their names, other lists are replaced."""
    if isinstance(document, dict) and isinstance(patch, dict):
        merged = dict(document)
        for key, value in patch.items():
            merged[key] = patched(document[key], value) if key in document else value
        return merged
    if isinstance(document, list) and all(isinstance(each, dict) and "name" in each for each in [*document, *patch]):
        changes = {each["name"]: each for each in patch}
        merged = [patched(each, changes.pop(each["name"])) if each["name"] in changes else each for each in document]
        return merged + list(changes.values())
    return patch


def container(spec):
    """The container of a pod that runs the program."""
    return spec["containers"][0]


def option(arguments, name):
    """The value of --name=VALUE or --name VALUE, or None."""
    for index, argument in enumerate(arguments):
        if argument.startswith(f"--{name}="):
            return argument.partition("=")[2]
        if argument == f"--{name}":
            return arguments[index + 1]
    return None


def port_of(address):
    """The port of an address such as 0.0.0.0:8000; None for none."""
    return None if address in (None, "none") else int(address.rpartition(":")[2])


def probes(box):
    """(name, probe) of a container."""
    return [(name, box[name]) for name in ("startupProbe", "readinessProbe", "livenessProbe") if name in box]


def port_number(port, box):
    """The number of a port that is named or numbered."""
    if isinstance(port, int):
        return port
    return next((each["containerPort"] for each in box.get("ports", []) if each.get("name") == port), None)


def findings(manifests, told, named):
    """What does not agree. `told` is what the program says of itself (Told), `named` the metrics that it has."""
    found = []
    for part in (arguments, addresses, safety, lifetimes, volumes, selections, scaling, images):
        found += part(manifests, told, named)
    return found


class Told:
    """What the program says of itself: options of its commands, its version."""

    def __init__(self, helps, version):
        self.options = {command: set(re.findall(r"(?<![\w-])--[a-z-]+", text)) for command, text in helps.items()}
        self.version = version


def arguments(manifests, told, _named):
    """Every option is one that the command has."""
    for where, spec, _ in manifests.pods():
        command, *rest = container(spec)["args"]
        if command not in told.options:
            yield f"{where}: the program has no command {command!r}"
            continue
        for argument in rest:
            name = argument.partition("=")[0]
            if name.startswith("-") and name not in told.options[command]:
                yield f"{where}: effnet {command} has no option {name}"


def addresses(manifests, _told, _named):
    """Ports of containers, probes, services, annotations and policies are those that the server listens at."""
    for where, spec, _ in manifests.pods():
        box = container(spec)
        if box["args"][0] != "serve":
            continue
        http, grpc = (port_of(option(box["args"], name)) for name in ("http", "grpc"))
        for name in ("http", "grpc"):
            address = option(box["args"], name)
            if address is None or (address != "none" and not address.startswith("0.0.0.0:")):
                yield f"{where}: --{name} {address}: others reach 0.0.0.0 alone"
        for port in box.get("ports", []):
            if port["containerPort"] not in (http, grpc):
                yield f"{where}: port {port['containerPort']} is open, and the server listens at {http} and {grpc}"
        for name, probe in probes(box):
            kind, expected = ("httpGet", http) if "httpGet" in probe else ("grpc", grpc)
            number = port_number(probe[kind]["port"], box)
            if number != expected:
                yield f"{where}: {name} asks port {probe[kind]['port']}, and the server has {kind} at {expected}"
        if not probes(box):
            yield f"{where}: no probe"
        annotations = spec.get("annotations") or {}
        for key, value in annotations.items():
            if key.endswith("/port") and int(value) != http:
                yield f"{where}: {key} is {value}, and metrics are at {http}"
    deployment = manifests.one("Deployment")
    box = container(deployment["spec"]["template"]["spec"])
    notes = deployment["spec"]["template"]["metadata"].get("annotations", {})
    if notes.get("prometheus.io/port") != str(port_of(option(box["args"], "http"))):
        yield "kubernetes/deployment.yaml: prometheus.io/port is not the port of HTTP"
    for name, service in manifests.of("Service"):
        for port in service["spec"]["ports"]:
            if port_number(port["targetPort"], box) is None:
                yield f"{name}: targetPort {port['targetPort']} is no port of the container"
    for name, policy in manifests.of("NetworkPolicy"):
        for port in policy["spec"]["ingress"][0]["ports"]:
            if port_number(port["port"], box) is None:
                yield f"{name}: port {port['port']} is no port of the container"
    last = stages((DEPLOY / "Dockerfile").read_text())[-1]
    numbers = [str(each["containerPort"]) for each in box["ports"]]
    if last.one("EXPOSE").split() != numbers:
        yield f"Dockerfile: EXPOSE {last.one('EXPOSE')}, and the Deployment has {numbers}"


def safety(manifests, _told, _named):
    """No root, no rights, nothing that can be written; threads as the processor's limit."""
    user = int(stages((DEPLOY / "Dockerfile").read_text())[-1].one("USER").partition(":")[0])
    for where, spec, _ in manifests.pods():
        box = container(spec)
        rights = {**spec.get("securityContext", {}), **box.get("securityContext", {})}
        expected = {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
        for name, value in expected.items():
            if rights.get(name) is not value:
                yield f"{where}: {name} is {rights.get(name)}, expected {value}"
        if rights.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{where}: capabilities are {rights.get('capabilities')}, expected drop: [ALL]"
        if rights.get("runAsUser") != user:
            yield f"{where}: runAsUser is {rights.get('runAsUser')}, and the image's user is {user}"
        limits, requests = (box["resources"].get(name, {}) for name in ("limits", "requests"))
        if "memory" not in limits or "cpu" not in requests or "memory" not in requests:
            yield f"{where}: resources lack a request or a limit of memory"
        if box["args"][0] == "serve" and option(box["args"], "threads") != limits.get("cpu"):
            yield f"{where}: --threads {option(box['args'], 'threads')}, and limits.cpu is {limits.get('cpu')}"


def lifetimes(manifests, _told, _named):
    """Time to end is above the drain delay and the longest answer."""
    service = manifests.one("InferenceService")
    for where, spec, _ in manifests.pods():
        box = container(spec)
        if box["args"][0] != "serve":
            continue
        grace = spec.get("terminationGracePeriodSeconds")
        if grace is None:
            # KServe puts the predictor's over that of the runtime, which has none.
            grace = service["spec"]["predictor"].get("terminationGracePeriodSeconds", 30)
        if option(box["args"], "drain-delay") is None or option(box["args"], "timeout-ms") is None:
            yield f"{where}: --drain-delay and --timeout-ms are not both there"
            continue
        needed = int(option(box["args"], "drain-delay")) + int(option(box["args"], "timeout-ms")) / 1000 + SPARE_S
        if grace < needed:
            yield f"{where}: terminationGracePeriodSeconds is {grace}, below drain and longest answer: {needed:g}"
        if "lifecycle" in box:
            yield f"{where}: a lifecycle hook, and the server drains by itself"


def volumes(manifests, _told, _named):
    """What is mounted is a volume of the pod, a volume's claim is there, and weights are looked for where one is."""
    claims = {each["metadata"]["name"] for _, each in manifests.of("PersistentVolumeClaim")}
    for where, spec, _ in manifests.pods():
        box = container(spec)
        there = {each["name"]: each for each in spec.get("volumes", [])}
        mounts = {each["mountPath"]: each for each in box.get("volumeMounts", [])}
        for path, mount in mounts.items():
            if mount["name"] not in there:
                yield f"{where}: {path} is of volume {mount['name']!r}, which the pod does not have"
        for volume in there.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and claim not in claims:
                yield f"{where}: the claim {claim!r} is not there"
        for name in ("models", "weights", "output"):
            path = option(box["args"], name)
            # KServe mounts /mnt/models itself.
            if path and not any(path.startswith(mount) for mount in [*mounts, "/mnt/models/"]):
                yield f"{where}: --{name} {path} is on no volume"
    for name, each in manifests.of("InferenceService"):
        uri = each["spec"]["predictor"]["model"]["storageUri"]
        if uri.startswith("pvc://") and uri.removeprefix("pvc://").split("/")[0] not in claims:
            yield f"{name}: storageUri {uri}: no such claim"
        format_ = each["spec"]["predictor"]["model"]["modelFormat"]["name"]
        protocol = each["spec"]["predictor"]["model"].get("protocolVersion", "v1")
        runtimes = [
            runtime["metadata"]["name"]
            for _, runtime in manifests.of("ClusterServingRuntime")
            if protocol in runtime["spec"]["protocolVersions"]
            and any(
                each["name"] == format_ and each.get("autoSelect") for each in runtime["spec"]["supportedModelFormats"]
            )
        ]
        if len(runtimes) != 1:
            yield f"{name}: format {format_}, protocol {protocol}: the runtimes {runtimes}, expected one"
        # The file that the job writes is the model that the service is named after.
        files = [option(container(job["spec"]["template"]["spec"])["args"], "output") for _, job in manifests.of("Job")]
        if not any(file and file.endswith(f"/{each['metadata']['name']}.safetensors") for file in files):
            yield f"{name}: no job writes {each['metadata']['name']}.safetensors: {files}"
    for where, spec, _ in manifests.pods():
        if where.startswith("kserve/"):
            weights = option(container(spec)["args"], "weights")
            if weights != "/mnt/models/{{.Name}}.safetensors":
                yield f"{where}: --weights {weights}: the model is not named as the InferenceService"


def selections(manifests, _told, _named):
    """Selectors select the Deployment's pods, and references are of its name."""
    deployment = manifests.one("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        ("kubernetes/deployment.yaml", deployment["spec"]["selector"]["matchLabels"]),
        *((name, each["spec"]["selector"]) for name, each in manifests.of("Service")),
        *((name, each["spec"]["selector"]["matchLabels"]) for name, each in manifests.of("PodDisruptionBudget")),
        *((name, each["spec"]["podSelector"]["matchLabels"]) for name, each in manifests.of("NetworkPolicy")),
    ]
    spread = deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
    selectors += [("kubernetes/deployment.yaml: spread", each["labelSelector"]["matchLabels"]) for each in spread]
    for where, selector in selectors:
        if not selector or not selector.items() <= labels.items():
            yield f"{where}: {selector} does not select the Deployment's pods, which have {labels}"
    for name, each in manifests.of("Job"):
        if each["spec"]["template"]["metadata"]["labels"].items() >= selectors[0][1].items():
            yield f"{name}: the Deployment's selector selects the job's pods"
    for name, each in manifests.of("HorizontalPodAutoscaler", "ScaledObject"):
        reference = each["spec"]["scaleTargetRef"]
        if (reference["kind"], reference["name"]) != ("Deployment", deployment["metadata"]["name"]):
            yield f"{name}: scales {reference}, which is not the Deployment"
    headless = [each for _, each in manifests.of("Service") if each["spec"].get("clusterIP") == "None"]
    if [each["spec"]["ports"][0]["targetPort"] for each in headless] != ["grpc"]:
        yield "kubernetes/service.yaml: no headless service of gRPC alone"


def scaling(manifests, _told, named):
    """What scales asks for metrics that the server or the adapter has."""
    rules = manifests.files["kubernetes/prometheus-adapter.yaml"][0]["rules"]["custom"]
    made = {rule["name"]["as"] for rule in rules}
    for rule in rules:
        for name in METRIC.findall(rule["seriesQuery"] + rule["metricsQuery"] + rule["name"]["matches"]):
            if name not in named:
                yield f"kubernetes/prometheus-adapter.yaml: {name} is no metric of the server"
        if rule["name"]["matches"].strip("^$") != rule["seriesQuery"].partition("{")[0]:
            yield f"kubernetes/prometheus-adapter.yaml: {rule['name']['matches']} does not match {rule['seriesQuery']}"
        if not {"<<.LabelMatchers>>", "<<.GroupBy>>"} <= set(re.findall(r"<<\.\w+>>", rule["metricsQuery"])):
            yield f"kubernetes/prometheus-adapter.yaml: {rule['name']['as']}: no matchers or no grouping"
    asked = {each["pods"]["metric"]["name"] for each in manifests.one("HorizontalPodAutoscaler")["spec"]["metrics"]}
    if asked != made:
        yield f"kubernetes/hpa.yaml asks for {sorted(asked)}, and the adapter makes {sorted(made)}"
    scaled = manifests.one("ScaledObject")
    for trigger in scaled["spec"]["triggers"]:
        settings = trigger["metadata"]
        # The keys that KEDA's scaler of Prometheus has to have; all values are texts.
        if trigger["type"] != "prometheus" or not {"serverAddress", "query", "threshold"} <= set(settings):
            yield f"kubernetes/keda.yaml: {trigger['type']} with {sorted(settings)}"
        for name in METRIC.findall(settings.get("query", "")):
            if name not in named:
                yield f"kubernetes/keda.yaml: {name} is no metric of the server"
        if settings.get("query", "").count("(") != settings.get("query", "").count(")"):
            yield "kubernetes/keda.yaml: brackets"
    scalers = [scaled["spec"], manifests.one("HorizontalPodAutoscaler")["spec"]]
    bounds = [
        (each.get("minReplicas", each.get("minReplicaCount")), each.get("maxReplicas", each.get("maxReplicaCount")))
        for each in scalers
    ]
    if bounds[0] != bounds[1]:
        yield f"kubernetes/keda.yaml and hpa.yaml have other bounds: {bounds}"
    if "replicas" in manifests.one("Deployment")["spec"]:
        yield "kubernetes/deployment.yaml: replicas, which the scaler sets"


def images(manifests, told, _named):
    """One image, of the program's version, which the Dockerfile's own lines name too."""
    expected = f"effnet:{told.version}"
    for where, spec, _ in manifests.pods():
        if container(spec)["image"] != expected:
            yield f"{where}: image {container(spec)['image']}, expected {expected}"
    for line in re.findall(r"effnet:\d[\w.]*", (DEPLOY / "Dockerfile").read_text()):
        if line != expected:
            yield f"Dockerfile: {line}, expected {expected}"
