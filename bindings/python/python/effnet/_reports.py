"""What the tools tell: imports, downloads, profiles, verifications."""

from __future__ import annotations

import os

# What only a type checker reads is not imported: it takes longer than all of the package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

__all__ = ["ImportReport", "Profile", "PullReport", "Verification"]


class ImportReport:
    """What an import wrote. It stands for the packed file's path: ``effnet.load(report)``.

    Attributes:
        path: The packed file.
        bytes: Its length.
        metadata: What it tells of itself, as ``Model.metadata``.
        evidence: What was decided, and by which evidence.
        notes: Facts worth a look, a sentence each.
    """

    path: Path
    bytes: int
    metadata: dict[str, Any]
    evidence: str
    notes: tuple[str, ...]

    def __init__(
        self,
        *,
        path: Path,
        bytes: int,
        metadata: dict[str, Any],
        evidence: str,
        notes: tuple[str, ...],
    ) -> None:
        self.path = path
        self.bytes = bytes
        self.metadata = metadata
        self.evidence = evidence
        self.notes = notes

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        name, precision = self.metadata["name"], self.metadata["precision"]
        return f"<effnet.{type(self).__name__} {name}, {precision}: {self.path}>"


class PullReport(ImportReport):
    """What a download fetched, and the import after it.

    Attributes:
        checkpoint: The checkpoint's file, which is kept.
        downloaded_bytes: Bytes fetched; 0 where the file was there.
        resumed_at_bytes: Bytes that an interrupted download had left.
        verified: Whether all of its SHA-256 was compared.
        checked: What was compared: ``"sha256"``, ``"sha256-prefix"`` or ``"nothing"``.
    """

    checkpoint: Path
    downloaded_bytes: int
    resumed_at_bytes: int
    verified: bool
    checked: str

    def __init__(
        self,
        *,
        checkpoint: Path,
        downloaded_bytes: int,
        resumed_at_bytes: int,
        verified: bool,
        checked: str,
        path: Path,
        bytes: int,
        metadata: dict[str, Any],
        evidence: str,
        notes: tuple[str, ...],
    ) -> None:
        super().__init__(path=path, bytes=bytes, metadata=metadata, evidence=evidence, notes=notes)
        self.checkpoint = checkpoint
        self.downloaded_bytes = downloaded_bytes
        self.resumed_at_bytes = resumed_at_bytes
        self.verified = verified
        self.checked = checked


class Profile:
    """Where a run's time goes, as a table that prints itself, in notebooks as HTML.

    ``pandas.DataFrame(profile.rows, columns=profile.columns)`` takes it as it is.

    Attributes:
        title: What was profiled.
        grouped_by: What is put together: ``"launch"``, ``"layer"``, ``"block"``, ``"stage"`` or
            ``"op"``.
        columns: The headings.
        rows: The cells as people read them, row by row; the last row is everything.
        headlines: What one reads first.
        notes: What a reader has to know.
    """

    title: str
    grouped_by: str
    columns: list[str]
    rows: list[list[str]]
    headlines: list[str]
    notes: list[str]

    def __init__(
        self,
        *,
        title: str,
        grouped_by: str,
        tables: dict[str, tuple[list[str], list[list[str]], str]],
        found: dict[str, Any],
        headlines: list[str],
        notes: list[str],
    ) -> None:
        self.title = title
        self.grouped_by = grouped_by
        self.columns, self.rows, self._text = tables[grouped_by]
        self.headlines = headlines
        self.notes = notes
        self._tables = tables
        self._found = found

    def by(self, grouped_by: str) -> Profile:
        """The same profile, put together by something else."""
        if grouped_by not in self._tables:
            expected = ", ".join(repr(name) for name in self._tables)
            raise ValueError(f"by: expected {expected}, found {grouped_by!r}")
        return Profile(
            title=self.title,
            grouped_by=grouped_by,
            tables=self._tables,
            found=self._found,
            headlines=self.headlines,
            notes=self.notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything in numbers, as ``effnet profile --json`` prints it: effnet-profile/1."""
        return self._found

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return "\n".join([self.title, "", self._text, "", *self.headlines])

    def __repr__(self) -> str:
        return f"<effnet.Profile {self.title}: {len(self.rows) - 1} rows by {self.grouped_by}>"

    def _repr_html_(self) -> str:
        import html

        def cells(tag: str, row: list[str]) -> str:
            aligned = [" style='text-align:left'"] + [""] * (len(row) - 1)
            texts = (html.escape(text) for text in row)
            parts = (f"<{tag}{style}>{text}</{tag}>" for text, style in zip(texts, aligned))
            return "<tr>" + "".join(parts) + "</tr>"

        head = cells("th", self.columns)
        body = "".join(cells("td", row) for row in self.rows)
        notes = "".join(f"<p>{html.escape(line)}</p>" for line in self.headlines)
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>{notes}"


class Verification:
    """Whether every launch of a network is within its bounds; true where it is.

    Attributes:
        verdict: What was verified on which device, or what is off.
    """

    verdict: str

    def __init__(self, *, verdict: str, found: dict[str, Any]) -> None:
        self.verdict = verdict
        self._found = found

    @property
    def verified(self) -> bool:
        """Whether nothing is off."""
        return self._found["fault"] is None

    @property
    def fault(self) -> dict[str, Any] | None:
        """The first thing that is off."""
        fault: dict[str, Any] | None = self._found["fault"]
        return fault

    def to_dict(self) -> dict[str, Any]:
        """Everything, as ``effnet verify --json`` prints it (schema effnet-verify/1)."""
        return self._found

    def __bool__(self) -> bool:
        return self.verified

    def __str__(self) -> str:
        return self.verdict

    def __repr__(self) -> str:
        line = self.verdict.splitlines()[0]
        return f"<effnet.Verification {len(self._found['checks'])} launches, {line}>"


for _class in (ImportReport, PullReport, Profile, Verification):
    _class.__module__ = "effnet"
del _class
