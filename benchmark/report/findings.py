"""What a verification finds: one thing, and all of them together."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmark._version import __version__
from benchmark.names import visible

FILE = "verify.json"
RIGHT, WRONG, DIFFERS, UNKNOWN = "right", "wrong", "differs", "not checked"
_MOST = 5  # findings of one check that are printed; verify.json has all


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Parameters
    ----------
    check : str
        Which check found it.
    state : {"wrong", "differs", "not checked"}
        Wrong: a number is not what it says it is. Differs: code, data, versions or processors are others than those of
        the numbers. Not checked: something that it takes is not here.
    what : str
        One line.
    """

    check: str
    state: str
    what: str


def tell_recomputed(folder: Path) -> str:
    """What ``verify.json`` says of cells that were computed again, in a sentence; empty where it says nothing."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        (looked_at,) = (check["looked_at"] for check in content["checks"] if check["check"] == "recomputed")
        others = [finding["what"] for finding in content["findings"] if finding["check"] == "recomputed"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    told = f"{len(others)} findings, such as: {others[0]}" if others else "all outputs have the same bits"
    return visible(f"Computed again: {looked_at}; {told}.")


@dataclass
class Verdict:
    """What a verification found; as text, what ``--verify`` prints.

    Parameters
    ----------
    folder : Path
    checked : dict of str to str
        By check, what was looked at.
    findings : list of Finding
    processor : dict
        Of this machine.
    files : dict of str to str
        Digests of what was looked at: :func:`benchmark.report.marks.digests_of`.
    date, git_commit : str
        When that was, and with which commit of the code.
    """

    folder: Path
    checked: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    processor: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    date: str = ""
    git_commit: str = ""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.state != WRONG for finding in self.findings)

    def state(self, check: str) -> str:
        """The worst that a check found; ``right`` where it found nothing."""
        states = {finding.state for finding in self.findings if finding.check == check}
        return next((state for state in (WRONG, DIFFERS, UNKNOWN) if state in states), RIGHT)

    def __str__(self) -> str:
        lines = []
        for check, what in self.checked.items():
            lines.append(f"{self.state(check):<12} {check}: {what}")
            own = [finding for finding in self.findings if finding.check == check]
            lines += [f"  {finding.state}: {finding.what}" for finding in own[:_MOST]]
            if len(own) > _MOST:
                lines.append(f"  and {len(own) - _MOST} more, in verify.json")
        verdict = "nothing is wrong" if self.sound else "something is wrong"
        return "\n".join([*lines, f"{self.folder}: {verdict}"])

    def record(self) -> dict[str, Any]:
        """For ``verify.json``."""
        return {
            "verdict": "sound" if self.sound else "wrong",
            "benchmark": __version__,
            "git_commit": self.git_commit,
            "date": self.date,
            "files": self.files,
            "processor": self.processor,
            "checks": [{"check": c, "state": self.state(c), "looked_at": what} for c, what in self.checked.items()],
            "findings": [asdict(finding) for finding in self.findings],
        }
