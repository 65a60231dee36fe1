"""A folder's hashes: any single file that is changed, cut, removed or added is noticed.

``SHA256SUMS`` is in the form of the command of that name and lists every other file. It is not
parsed: it must equal, byte for byte, what the folder as it is would give, so an edit of the list
itself is noticed too. This guards against damage and careless edits; whoever replaces files and
list together meets the proof in `autoprune.export.verify`.
"""

from __future__ import annotations

from pathlib import Path

from autoprune.core.canonical import file_sha256
from autoprune.core.errors import BadInput, VerificationError

SUMS = "SHA256SUMS"


def sums(folder: Path) -> dict[str, str]:
    """Hash every file of a folder but the list, by name."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    return {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}


def write_sums(folder: Path) -> None:
    """Write the list."""
    (folder / SUMS).write_bytes(_text(sums(folder)))


def check_sums(folder: Path) -> dict[str, str]:
    """Compare the list with the folder, and return the hashes.

    Raises
    ------
    BadInput
        If there is no such folder, or it is no export at all.
    VerificationError
        Naming the files that differ.
    """
    if not (folder / SUMS).is_file():
        if folder.is_dir() and any(
            (folder / name).exists() for name in ("plan.json", "report.json")
        ):
            raise VerificationError(f"{folder / SUMS} is missing; the export is not complete")
        raise BadInput(
            str(folder), "is not an exported folder", remedy="make one with `autoprune export`"
        )
    found, listed = sums(folder), (folder / SUMS).read_bytes()
    if listed != _text(found):
        raise VerificationError(f"{folder}: {_difference(found, listed)}; export the model again")
    return found


def _text(found: dict[str, str]) -> bytes:
    return "".join(f"{value}  {name}\n" for name, value in found.items()).encode()


def _difference(found: dict[str, str], listed: bytes) -> str:
    """Say which files do not fit the list."""
    lines = [line.split("  ", 1) for line in listed.decode(errors="replace").splitlines()]
    known = {line[1]: line[0] for line in lines if len(line) == 2}
    for name in sorted({*found, *known}):
        if name not in found:
            return f"{name} is listed in {SUMS} and missing"
        if name not in known:
            return f"{name} is not listed in {SUMS}"
        if found[name] != known[name]:
            return f"{name} does not have the sha256 in {SUMS}: one of the two was changed"
    return f"{SUMS} was changed"
