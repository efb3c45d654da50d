"""Writes what is inside a release, as CycloneDX: each crate with its licence and digest, each file, and the
compilers that built them.

    python contents.py OUTPUT.cdx.json FOLDER

FOLDER is what the archive packs. The list is checked against CycloneDX's schema before it is written.
"""

import datetime
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import uuid

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import Tool
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import dependencies  # noqa: E402, from the folder above

def sha256(digest):
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def crates(graph):
    checksums = {
        (package["name"], package["version"]): package.get("checksum")
        for package in dependencies.packages_of(dependencies.LOCK)
    }
    licences = LicenseFactory()
    for package in graph.shipped():
        name, version = package["name"], package["version"]
        # Older manifests write a choice with a slash.
        expression = package["license"].replace("/", " OR ")
        purl = PackageURL("cargo", None, name, version)
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=purl,
            bom_ref=str(purl),
            licenses=[licences.make_from_string(expression)],
            hashes=[sha256(checksums[name, version])],
        )


def files(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = path.relative_to(folder).as_posix()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield Component(
                type=ComponentType.FILE, name=name, bom_ref=f"file:{name}", hashes=[sha256(digest)]
            )


def said(command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def compilers(folder):
    rustc = said(["rustc", "--version"])[0].split(maxsplit=1)
    yield Tool(name=rustc[0], version=rustc[1])
    build = said([str(folder / "bin" / "effnet"), "--version", "--verbose"])
    for line in build:
        name, _, version = line.partition(" ")
        if name == "nvcc":
            yield Tool(name=name, version=version.strip())


def main(output, folder):
    folder = pathlib.Path(folder)
    graph = dependencies.Graph()
    effnet = graph.packages[graph.member("effnet")]
    licences = LicenseFactory()
    whole = Component(
        type=ComponentType.APPLICATION,
        name="effnet",
        version=effnet["version"],
        bom_ref="effnet",
        licenses=[licences.make_from_string(effnet["license"])],
    )
    parts = [*crates(graph), *files(folder)]
    bom = Bom(components=parts)
    bom.metadata.component = whole
    bom.metadata.tools.tools.update(compilers(folder))
    time = int(os.environ["SOURCE_DATE_EPOCH"])
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    # The same contents have the same number.
    digests = json.dumps(sorted(f"{part.bom_ref} {part.hashes[0].content}" for part in parts))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, digests)
    bom.register_dependency(whole, parts)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault:
        sys.exit(f"contents: not CycloneDX: {fault}")
    pathlib.Path(output).write_text(text + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
