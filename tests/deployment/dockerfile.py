"""A Dockerfile's stages and a build's context, as far as deploy/ uses them."""

import fnmatch
import json
import re
import shlex
from pathlib import PurePosixPath

from support import check


class Stage:
    """One FROM and what follows it, as (instruction, argument) in order."""

    def __init__(self, base, name):
        self.base, self.name, self.steps = base, name, []

    def all(self, instruction):
        """The arguments of every `instruction`."""
        return [argument for name, argument in self.steps if name == instruction]

    def one(self, instruction):
        """The argument of the only `instruction`."""
        found = self.all(instruction)
        check(len(found) == 1, f"the stage of {self.base}: {len(found)} {instruction}, expected one")
        return found[0]

    def listed(self, instruction):
        """An argument in its JSON form, the one that needs no shell."""
        text = self.one(instruction)
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            found = None
        check(
            isinstance(found, list) and all(isinstance(part, str) for part in found),
            f"{instruction} {text}: expected a JSON list of strings; the image has no shell",
        )
        return found

    def environment(self):
        """Variables of ENV."""
        pairs = [part.split("=", 1) for text in self.all("ENV") for part in shlex.split(text)]
        check(all(len(pair) == 2 for pair in pairs), f"ENV: expected NAME=VALUE, found {pairs}")
        return dict(pairs)

    def copies(self):
        """(stage or None, sources, target) of every COPY."""
        found = []
        for text in self.all("COPY"):
            parts = shlex.split(text)
            options = dict(part.removeprefix("--").split("=", 1) for part in parts if part.startswith("--"))
            check(set(options) <= {"from"}, f"COPY {text}: an option that this reader does not know")
            *sources, target = [part for part in parts if not part.startswith("--")]
            check(sources, f"COPY {text}: nothing to copy")
            found.append((options.get("from"), sources, target))
        return found


def stages(text):
    """The stages of a Dockerfile, in order."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for step in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if not step.strip():
            continue
        instruction, _, argument = step.strip().partition(" ")
        instruction, argument = instruction.upper(), " ".join(argument.split())
        if instruction == "FROM":
            base, *name = re.split(r"\s+AS\s+", argument, flags=re.IGNORECASE)
            found.append(Stage(base, name[0] if name else None))
        else:
            check(found, f"{instruction} before the first FROM")
            found[-1].steps.append((instruction, argument))
    check(found, "no FROM")
    return found


def is_ignored(path, rules):
    """Whether .dockerignore `rules` keep `path`, relative to the context, away: the last rule that fits says."""
    ignored = False
    for rule in rules:
        rule = rule.strip()
        if not rule or rule.startswith("#"):
            continue
        wanted, pattern = rule.startswith("!"), rule.removeprefix("!").strip("/")
        names = [path, *map(str, PurePosixPath(path).parents)][:-1]
        patterns = [pattern, pattern.removeprefix("**/")]
        if any(_fits(name, each) for name in names for each in patterns) or (
            pattern.startswith("**/") and any(_fits(part, pattern[3:]) for part in PurePosixPath(path).parts)
        ):
            ignored = not wanted
    return ignored


def _fits(name, pattern):
    """Whether a name fits a pattern, part by part."""
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
