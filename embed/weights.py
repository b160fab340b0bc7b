"""The files that hold a model's weights, and whether they are whole: seen by their headers, without loading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LONGEST_HEADER = 100_000_000  # bytes; what the format allows


class Damaged(Exception):
    """A file is not what it should be: the file and what is wrong, without what to do."""


def weight_files(path: Path) -> list[Path]:
    """The files that hold the weights of the model in `path`, sorted; pickled ones only where there are no others."""
    safe = sorted(path.rglob("*.safetensors"))
    folders = {file.parent for file in safe}
    return safe + sorted(file for file in path.rglob("pytorch_model*.bin") if file.parent not in folders)


def check(path: Path) -> None:
    """Whether all safetensors files below `path` are as long as they say, and all parts of split ones are there.

    Reads their headers only. Raises `Damaged`.
    """
    for listing in sorted(path.rglob("*.safetensors.index.json")):
        for name in sorted(_listed(listing)):
            if not (listing.parent / name).is_file():
                raise Damaged(f"{listing.parent / name} is missing, which {listing.name} names")
    for file in sorted(path.rglob("*.safetensors")):
        header(file)


def header(file: Path) -> dict[str, Any]:
    """What a safetensors file says it holds: name -> `shape`, `dtype`, `data_offsets`. Raises `Damaged`.

    The format: 8 bytes with the header's length, the header as JSON, then the data, to the last byte.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or not 2 <= length <= min(_LONGEST_HEADER, size - 8):
                raise Damaged(f"{file} is no safetensors file, or cut within its header ({size} bytes)")
            said = json.loads(stream.read(length))
        ends = [int(tensor["data_offsets"][1]) for name, tensor in said.items() if name != "__metadata__"]
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
        raise Damaged(f"{file} has no header that can be read ({type(error).__name__})") from None
    if (stated := 8 + length + max(ends, default=0)) != size:
        raise Damaged(f"{file} has {size} bytes where its header states {stated}")
    return dict(said)


def _listed(listing: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(listing.read_bytes())["weight_map"].values()}
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise Damaged(f"{listing} cannot be read ({type(error).__name__})") from None
