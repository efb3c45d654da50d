"""What the program is built from: may it be, and is it told?

    python dependencies.py check      licences, sources, doubles by deny.toml; notices, table, locks
    python dependencies.py notices    writes THIRD-PARTY-NOTICES
    python dependencies.py facts      prints what docs/dependencies.md says of each crate

The standard library and `cargo` are enough, without a network where the crates are there. What
counts is what a Linux build with all features has. Exit status 0, or 1 with what is wrong.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

try:
    import tomllib
except ImportError:
    sys.exit("dependencies: needs Python 3.11 or later, which reads TOML; set PYTHON to one")

ROOT = pathlib.Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO", "cargo")
NOTICES = ROOT / "THIRD-PARTY-NOTICES"
TABLE = ROOT / "docs" / "dependencies.md"
EMULATOR = ROOT / "crates" / "ptx-emulator"
LISTING = ROOT / "crates" / "sass-listing"
BINDINGS = [ROOT / "bindings" / "c", ROOT / "bindings" / "python"]
MANIFESTS = [folder / "Cargo.toml" for folder in [ROOT, EMULATOR, LISTING, *BINDINGS]]
# What people are given: the program, and the libraries of other languages.
PARTS = ["effnet", "effnet-c", "effnet-python"]
LOCK = ROOT / "Cargo.lock"
FUZZ_LOCKS = [ROOT / "fuzz" / "Cargo.lock", EMULATOR / "fuzz" / "Cargo.lock"]

# Both Linux targets have the same crates.
TARGET = "x86_64-unknown-linux-gnu"

# Names of files with a licence or what one asks to be kept.
LEGAL = ("LICENCE", "LICENSE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")

HEAD = """\
Third-party notices

effnet, as a program and as a library of C and of Python, contains of the Rust crates below what each
of them needs, each under its own licence. Their texts follow,
each once, under the crates that have it. Where a crate offers a choice, effnet takes it under the
MIT license if it is offered, else under the Apache License 2.0. `tests/dependencies.py notices`
writes this file from Cargo.lock and the crates' own sources.

"""

BESIDE = """
Beside the crates

It contains the Rust standard library, Copyright (c) The Rust Project Contributors, under
the MIT license or the Apache License 2.0, whose texts are below.

libjpeg-turbo-rs is a port of libjpeg-turbo: this software is based in part on the work of the
Independent JPEG Group.
"""


class Graph:
    """The packages and who needs whom, as Cargo.lock has them."""

    def __init__(self):
        command = [CARGO, "metadata", "--format-version", "1", "--locked", "--all-features"]
        command += ["--filter-platform", TARGET, "--manifest-path", str(ROOT / "Cargo.toml")]
        # What was built here is here; a fresh machine asks the registry.
        done = subprocess.run([*command, "--offline"], capture_output=True)
        if done.returncode != 0:
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout)
        self.members = found["workspace_members"]
        self.packages = {package["id"]: package for package in found["packages"]}
        self.needs = {node["id"]: node["deps"] for node in found["resolve"]["nodes"]}

    def member(self, name):
        return next(id for id in self.members if self.packages[id]["name"] == name)

    def closure(self, roots, kinds):
        """Crates of others that the roots need in these ways, by name and version."""
        seen, left = set(), list(roots)
        while left:
            package = left.pop()
            if package in seen:
                continue
            seen.add(package)
            for need in self.needs[package]:
                if any(kind["kind"] in kinds for kind in need["dep_kinds"]):
                    left.append(need["pkg"])
        others = [self.packages[id] for id in seen if id not in self.members]
        return sorted(others, key=lambda package: (package["name"], package["version"]))

    def shipped(self):
        """What is in the program and in the libraries."""
        return self.closure([self.member(name) for name in PARTS], [None])

    def built(self):
        """What is in them, and what runs while they are built."""
        return self.closure(self.members, [None, "build"])


def title(package):
    return f"{package['name']} {package['version']}"


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be met with these licences."""
    # An older way to write a choice.
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        met = requirements()
        while tokens[:1] == ["OR"]:
            tokens.pop(0)
            # Both sides are read, whatever the first one is.
            met = requirements() or met
        return met

    def requirements():
        met = one()
        while tokens[:1] == ["AND"]:
            tokens.pop(0)
            met = one() and met
        return met

    def one():
        token = tokens.pop(0)
        if token == "(":
            met = alternatives()
            assert tokens.pop(0) == ")", expression
            return met
        if tokens[:1] == ["WITH"]:
            token += f" {tokens.pop(0)} {tokens.pop(0)}"
        return token in allowed

    met = alternatives()
    assert not tokens, expression
    return met


def packages_of(lock):
    return tomllib.loads(lock.read_text())["package"]


def strayed():
    """Packages that are fuzzed in other versions than those that are shipped."""
    shipped = {}
    for package in packages_of(LOCK):
        shipped.setdefault(package["name"], set()).add(package["version"])
    faults = []
    for lock in FUZZ_LOCKS:
        for package in packages_of(lock):
            versions = shipped.get(package["name"], {package["version"]})
            if "source" in package and package["version"] not in versions:
                expected = " or ".join(sorted(versions))
                where = lock.relative_to(ROOT)
                faults.append(f"{where}: {title(package)}, but Cargo.lock has {expected}")
    if faults:
        faults.append("copy Cargo.lock over it, then run `cargo metadata` in its folder")
    return faults


def refused(graph, rules):
    """What deny.toml forbids."""
    faults = []
    built = graph.built()
    allowed = rules["licenses"]["allow"]
    for package in built:
        licence = package["license"] or "no licence that Cargo.toml names"
        if not package["license"] or not is_allowed(licence, allowed):
            faults.append(f"{title(package)}: {licence}; deny.toml allows {', '.join(allowed)}")

    locked = packages_of(LOCK)
    sources = {package["source"] for package in locked if "source" in package}
    if len(sources) != 1 or not sources.pop().startswith("registry+"):
        faults.append("Cargo.lock: expected one source, the default registry")
    for package in locked:
        if "source" in package and "checksum" not in package:
            faults.append(f"Cargo.lock: {title(package)} has no checksum")

    versions = {}
    for package in built:
        versions.setdefault(package["name"], []).append(package["version"])
    skipped = [tuple(skip["crate"].split("@")) for skip in rules["bans"]["skip"]]
    for name, version in skipped:
        fits = [v for v in versions.get(name, []) if f"{v}.".startswith(f"{version}.")]
        if not fits or len(versions[name]) < 2:
            faults.append(f"deny.toml: skips {name}@{version}, of which there are no two versions")
        for fit in fits:
            versions[name].remove(fit)
    for name, found in versions.items():
        if len(found) > 1:
            faults.append(f"{name}: versions {' and '.join(found)}; deny.toml has no reason for it")

    for manifest in MANIFESTS:
        for section, name, value in direct(manifest):
            version = value if isinstance(value, str) else value.get("version")
            if version == "*" or (version is None and not value.get("workspace")):
                faults.append(f"{manifest.name}: [{section}] {name} takes any version")
    return faults


def texts(package):
    """Licence texts of a crate, by file name."""
    folder = pathlib.Path(package["manifest_path"]).parent
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.upper().startswith(LEGAL):
            found[path.name] = path.read_text(errors="replace").replace("\r\n", "\n").strip("\n")
    return found


def notices(graph):
    """The text of THIRD-PARTY-NOTICES."""
    shipped = graph.shipped()
    lines = [HEAD]
    by_text = {}
    for package in shipped:
        found = texts(package)
        note = "" if found else "; the crate brings no text of its own"
        where = package["repository"] or package["homepage"] or ""
        lines.append(f"{title(package)}: {package['license']}{note}\n    {where}\n")
        for text in found.values():
            # Texts that differ in nothing but their lines are one.
            kept, users = by_text.setdefault(" ".join(text.split()), (text, []))
            if title(package) not in users:
                users.append(title(package))
    lines.append(BESIDE)
    for text, users in sorted(by_text.values(), key=lambda entry: (-len(entry[1]), entry[1])):
        lines.append(f"\n{'=' * 100}\n{', '.join(users)}\n{'=' * 100}\n\n{text}\n")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def direct(manifest):
    """Direct dependencies that a manifest names: section, name and requirement."""
    read = tomllib.loads(manifest.read_text())
    # Those of one platform stand apart.
    for table in [read, *read.get("target", {}).values()]:
        for section in ["dependencies", "build-dependencies", "dev-dependencies"]:
            for name, value in table.get(section, {}).items():
                yield section, name, value


def direct_names():
    names = {name for manifest in MANIFESTS for _, name, _ in direct(manifest)}
    return sorted(names - {"effnet", "ptx-emulator", "sass-listing"})


def untold(graph):
    """Direct dependencies that docs/dependencies.md does not have as they are locked."""
    by_name = {}
    for id in graph.members:
        for need in graph.needs[id]:
            package = graph.packages[need["pkg"]]
            by_name[package["name"]] = package["version"]
    rows = re.findall(r"^\| `([^`]+)` ([^ ]+) \|", TABLE.read_text(), re.MULTILINE)
    expected = [(name, by_name[name]) for name in direct_names()]
    faults = []
    for name, version in sorted(set(expected) - set(rows)):
        faults.append(f"docs/dependencies.md: no row that begins with | `{name}` {version} |")
    for name, version in sorted(set(rows) - set(expected)):
        faults.append(f"docs/dependencies.md: {name} {version} is not what is locked")
    return faults


def facts(graph):
    """What can be counted of each direct dependency: lines, those with `unsafe`, and releases."""
    cargo = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    for name in direct_names():
        locked = [p for p in graph.packages.values() if p["name"] == name]
        if not locked:
            continue
        package = max(locked, key=lambda p: [int(x) for x in re.findall(r"\d+", p["version"])])
        sources = pathlib.Path(package["manifest_path"]).parent.glob("src/**/*.rs")
        lines = [line for path in sources for line in path.read_text(errors="replace").split("\n")]
        code = [line.split("//")[0] for line in lines]
        sites = sum(bool(re.search(r"\bunsafe\b(?!_)", line)) for line in code)
        times = []
        for index in cargo.glob(f"registry/index/*/.cache/**/{name}"):
            times += re.findall(rb'"pubtime": ?"(\d{4}-\d{2}-\d{2})', index.read_bytes())
        times = sorted(time.decode() for time in times)
        released = f"{len(times)} releases, {times[0]} to {times[-1]}" if times else "no times"
        authors = ", ".join(package["authors"])
        print(f"{title(package)} | {len(lines)} lines, {sites} unsafe | {released} | {authors}")


def main():
    if sys.argv[1:] not in (["check"], ["notices"], ["facts"]):
        sys.exit(__doc__)
    graph = Graph()
    if sys.argv[1] == "facts":
        facts(graph)
        return
    if sys.argv[1] == "notices":
        NOTICES.write_text(notices(graph))
        return
    faults = refused(graph, tomllib.loads((ROOT / "deny.toml").read_text()))
    faults += untold(graph) + strayed()
    if not NOTICES.is_file() or NOTICES.read_text() != notices(graph):
        todo = "`python3 tests/dependencies.py notices` writes it anew"
        faults.append(f"THIRD-PARTY-NOTICES does not fit Cargo.lock: {todo}")
    for fault in faults:
        print(f"dependencies: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
