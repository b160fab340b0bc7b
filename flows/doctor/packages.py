"""What is installed, and what cannot be together."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata

from penstock.flows.answers.doctor import Finding

NAMES = (
    "penstock",
    "torch",
    "sentence-transformers",
    "transformers",
    "tokenizers",
    "faiss-cpu",
    "faiss-gpu",
    "prefect",
    "sqlalchemy",
)


def versions(version: Callable[[str], str] = metadata.version) -> dict[str, str | None]:
    """Name → version, None where it is not installed. Nothing is imported."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in NAMES:
        try:
            found[name] = version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def findings(installed: Mapping[str, str | None], *, endpoint: bool, prefect_api: bool) -> Iterator[Finding]:
    """`endpoint`: vectors come from elsewhere, and no model is loaded. `prefect_api`: one is configured."""
    if installed["faiss-cpu"] and installed["faiss-gpu"]:
        yield Finding(
            "problem",
            "faiss-cpu and faiss-gpu are both installed and overwrite each other",
            "pip uninstall -y faiss-cpu faiss-gpu, then pip install the one that you want",
        )
    elif not installed["faiss-cpu"] and not installed["faiss-gpu"]:
        yield Finding("problem", "faiss is not installed", "pip install 'penstock[all]'")
    needed = () if endpoint else ("torch", "sentence-transformers", "transformers", "tokenizers")
    for name in (*needed, "sqlalchemy"):
        if not installed[name]:
            yield Finding("problem", f"{name} is not installed", "pip install 'penstock[all]'")
    if not installed["prefect"]:
        if prefect_api:
            what = "a Prefect API is configured, but prefect is not installed"
            yield Finding("problem", what, "pip install 'penstock[all]', or unset PREFECT_API_URL")
        else:
            yield Finding("note", "prefect is not installed: runs can be started by hand, and are recorded nowhere")
    if not installed["penstock"]:
        yield Finding("note", "penstock runs from its sources and is not installed")
