"""Faults for copies of the manifests, each with a part of the text that has to tell of it."""

import copy

from facts import container


def _box(document):
    return container(document["spec"]["template"]["spec"] if "template" in document["spec"] else document["spec"])


def _argument(index, name, value):
    """Sets --name of a file's document."""

    def change(documents):
        args = _box(documents[index])["args"]
        found = [place for place, each in enumerate(args) if each.startswith(f"--{name}=")]
        args[found[0]] = f"--{name}={value}"

    return change


def _at(index, *keys, value):
    """Sets the value at a path of keys of a file's document; None takes it away."""

    def change(documents):
        place = documents[index]
        for key in keys[:-1]:
            place = place[key]
        if value is None:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value

    return change


def _text(index, old, new, *keys):
    """Replaces a part of a text at a path of keys."""

    def change(documents):
        place = documents[index]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = place[keys[-1]].replace(old, new)

    return change


DEPLOYMENT = "kubernetes/deployment.yaml"
RUNTIMES = "kserve/runtimes.yaml"
POD = ("spec", "template", "spec")
BOX = (*POD, "containers", 0)
RULE = ("rules", "custom", 0)

MUTATIONS = [
    ("a field that no Deployment has", DEPLOYMENT, _at(0, "spec", "replica", value=2), "replica"),
    (
        "a number as text",
        DEPLOYMENT,
        _at(0, *POD, "terminationGracePeriodSeconds", value="45"),
        "terminationGracePeriodSeconds",
    ),
    (
        "an option that the program does not have",
        DEPLOYMENT,
        lambda ds: _box(ds[0])["args"].append("--name=x"),
        "no option --name",
    ),
    (
        "a misspelt option",
        DEPLOYMENT,
        lambda ds: _box(ds[0])["args"].append("--drain-delays=3"),
        "no option --drain-delays",
    ),
    (
        "a command that the program does not have",
        DEPLOYMENT,
        _at(0, *BOX, "args", 0, value="server"),
        "no command 'server'",
    ),
    ("another port of HTTP", DEPLOYMENT, _argument(0, "http", "0.0.0.0:8080"), "port"),
    ("an address that others do not reach", DEPLOYMENT, _argument(0, "http", "127.0.0.1:8000"), "others reach"),
    (
        "a probe of another port",
        DEPLOYMENT,
        _at(0, *BOX, "readinessProbe", "httpGet", "port", value="grpc"),
        "readinessProbe asks",
    ),
    (
        "no probe",
        DEPLOYMENT,
        lambda ds: [_box(ds[0]).pop(n) for n in ("startupProbe", "readinessProbe", "livenessProbe")],
        "no probe",
    ),
    ("a drain longer than the time to end", DEPLOYMENT, _argument(0, "drain-delay", "40"), "below drain"),
    ("root", DEPLOYMENT, _at(0, *POD, "securityContext", "runAsNonRoot", value=False), "runAsNonRoot"),
    (
        "another user than the image's",
        DEPLOYMENT,
        _at(0, *POD, "securityContext", "runAsUser", value=1000),
        "runAsUser",
    ),
    (
        "a root that can be written",
        DEPLOYMENT,
        _at(0, *BOX, "securityContext", "readOnlyRootFilesystem", value=False),
        "readOnlyRoot",
    ),
    ("capabilities", DEPLOYMENT, _at(0, *BOX, "securityContext", "capabilities", value={}), "capabilities"),
    ("no limit of memory", DEPLOYMENT, _at(0, *BOX, "resources", "limits", "memory", value=None), "resources lack"),
    ("more threads than processors", DEPLOYMENT, _argument(0, "threads", "8"), "--threads 8"),
    ("another image", DEPLOYMENT, _at(0, *BOX, "image", value="effnet:latest"), "effnet:latest"),
    ("a mount without a volume", DEPLOYMENT, _at(0, *BOX, "volumeMounts", 0, "name", value="other"), "does not have"),
    (
        "a claim that is not there",
        DEPLOYMENT,
        _at(0, *POD, "volumes", 0, "persistentVolumeClaim", "claimName", value="x"),
        "claim 'x'",
    ),
    ("weights on no volume", DEPLOYMENT, _argument(0, "models", "/srv"), "on no volume"),
    (
        "a preStop hook",
        DEPLOYMENT,
        _at(0, *BOX, "lifecycle", value={"preStop": {"sleep": {"seconds": 5}}}),
        "lifecycle",
    ),
    ("the scaler's replicas", DEPLOYMENT, _at(0, "spec", "replicas", value=2), "replicas"),
    (
        "labels that no selector has",
        DEPLOYMENT,
        _at(0, "spec", "template", "metadata", "labels", value={"app": "x"}),
        "does not select",
    ),
    (
        "an option of the GPU's that is not there",
        "kubernetes/gpu.yaml",
        lambda ds: _box(ds[0])["args"].append("--gpu=1"),
        "no option --gpu",
    ),
    ("half a GPU", "kubernetes/gpu.yaml", _at(0, *BOX, "resources", "limit", value={}), "limit"),
    (
        "a service's port",
        "kubernetes/service.yaml",
        _at(0, "spec", "ports", 0, "targetPort", value="web"),
        "targetPort web",
    ),
    (
        "a service's selector",
        "kubernetes/service.yaml",
        _at(1, "spec", "selector", value={"app": "x"}),
        "does not select",
    ),
    ("no headless service", "kubernetes/service.yaml", _at(1, "spec", "clusterIP", value=None), "no headless"),
    ("a budget of two kinds", "kubernetes/pdb.yaml", _at(0, "spec", "maxUnavailables", value=1), "maxUnavailables"),
    (
        "a budget's selector",
        "kubernetes/pdb.yaml",
        _at(0, "spec", "selector", "matchLabels", value={"app": "x"}),
        "does not select",
    ),
    (
        "another target of the scaler",
        "kubernetes/hpa.yaml",
        _at(0, "spec", "scaleTargetRef", "name", value="other"),
        "not the Deployment",
    ),
    (
        "a metric that nobody makes",
        "kubernetes/hpa.yaml",
        _at(0, "spec", "metrics", 0, "pods", "metric", "name", value="effnet_wait"),
        "effnet_wait",
    ),
    (
        "a target without a value",
        "kubernetes/hpa.yaml",
        _at(0, "spec", "metrics", 0, "pods", "target", "type", value=None),
        "type",
    ),
    (
        "a metric that the server lacks",
        "kubernetes/prometheus-adapter.yaml",
        _text(0, "queue_seconds_sum", "queue_seconds_total", *RULE, "metricsQuery"),
        "effnet_queue_seconds_total",
    ),
    (
        "a series of another name",
        "kubernetes/prometheus-adapter.yaml",
        _text(0, "queue", "run", *RULE, "seriesQuery"),
        "does not match",
    ),
    (
        "no grouping",
        "kubernetes/prometheus-adapter.yaml",
        _text(0, "<<.GroupBy>>", "pod", *RULE, "metricsQuery"),
        "no grouping",
    ),
    (
        "KEDA's metric",
        "kubernetes/keda.yaml",
        _text(0, "run_seconds", "runs_seconds", "spec", "triggers", 1, "metadata", "query"),
        "effnet_runs_seconds_sum",
    ),
    (
        "KEDA without a threshold",
        "kubernetes/keda.yaml",
        _at(0, "spec", "triggers", 0, "metadata", "threshold", value=None),
        "prometheus with",
    ),
    ("a field that KEDA lacks", "kubernetes/keda.yaml", _at(0, "spec", "minReplicas", value=2), "minReplicas"),
    ("other bounds", "kubernetes/keda.yaml", _at(0, "spec", "maxReplicaCount", value=9), "other bounds"),
    (
        "a policy's port",
        "kubernetes/networkpolicy.yaml",
        _at(0, "spec", "ingress", 0, "ports", 0, "port", value="web"),
        "port web",
    ),
    (
        "a job whose pods the service selects",
        "kubernetes/weights.yaml",
        _at(1, "spec", "template", "metadata", "labels", value={"app.kubernetes.io/name": "effnet"}),
        "selects the job",
    ),
    (
        "a job that writes another file",
        "kubernetes/weights.yaml",
        _argument(1, "output", "/models/b0.safetensors"),
        "lite0.safetensors",
    ),
    (
        "an option that pull lacks",
        "kubernetes/weights.yaml",
        lambda ds: _box(ds[1])["args"].append("--to=x"),
        "no option --to",
    ),
    ("a field that no runtime has", RUNTIMES, _at(0, "spec", "supportedModelFormat", value=[]), "supportedModelFormat"),
    ("a runtime without containers", RUNTIMES, _at(0, "spec", "containers", value=[{"args": ["serve"]}]), "name"),
    ("a runtime's protocols", RUNTIMES, _at(0, "spec", "protocolVersions", value="v2"), "expected a list"),
    (
        "a runtime's probe",
        RUNTIMES,
        _at(1, "spec", "containers", 0, "readinessProbe", "grpc", "port", value=8080),
        "readinessProbe asks",
    ),
    (
        "a runtime's model of another name",
        RUNTIMES,
        _argument(0, "weights", "/mnt/models/model.safetensors"),
        "not named as",
    ),
    (
        "metrics at another port",
        RUNTIMES,
        _at(0, "spec", "annotations", "prometheus.kserve.io/port", value="8002"),
        "metrics are at",
    ),
    ("two runtimes of one format", RUNTIMES, _at(1, "spec", "protocolVersions", value=["v2"]), "expected one"),
    (
        "a service of an unknown format",
        "kserve/inferenceservice.yaml",
        _at(0, "spec", "predictor", "model", "modelFormat", "name", value="onnx"),
        "expected one",
    ),
    (
        "a field that no InferenceService has",
        "kserve/inferenceservice.yaml",
        _at(0, "spec", "predictor", "model", "storageURI", value="x"),
        "storageURI",
    ),
    (
        "a service whose model nobody writes",
        "kserve/inferenceservice.yaml",
        _at(0, "metadata", "name", value="b0"),
        "no job writes",
    ),
    (
        "a service that has no time to end",
        "kserve/inferenceservice.yaml",
        _at(0, "spec", "predictor", "terminationGracePeriodSeconds", value=10),
        "below drain",
    ),
]


def _probe(name, **changes):
    """A container with a probe changed, or None where it has none of that kind."""

    def breaks(box):
        for each in ("readinessProbe", "livenessProbe"):
            if name in box.get(each, {}):
                mutant = copy.deepcopy(box)
                mutant[each][name] |= changes
                return mutant
        return None

    return breaks


# Faults of probes that only a running server tells.
PROBE_MUTATIONS = [
    ("a probe of a path that is not there", _probe("httpGet", path="/healthz")),
    ("a probe of a gRPC service that is not there", _probe("grpc", service="nobody")),
]
