"""``harmony/doctor``: one report that explains what the server does, and why it is silent when it is."""

import dataclasses
import importlib.metadata
import os
import platform
import sys
from typing import Any

from harmony_ls.lsp.documents.documents import Document
from harmony_ls.lsp.messages.messages import DoctorParams, DoctorReport, DocumentReport
from harmony_ls.lsp.services import Services
from harmony_ls.settings.sources import user_file

__all__ = ["doctor"]

_PACKAGES = ("harmony-ls", "mlx", "mlx-lm", "transformers", "pygls", "lsprotocol")


async def doctor(services: Services, params: DoctorParams) -> DoctorReport:
    """Answer ``harmony/doctor``."""
    resolved = services.configuration.resolved
    return DoctorReport(
        environment=_environment(services),
        client=_client(services),
        status=services.status.current,
        settings=resolved.settings.model_dump(mode="json", by_alias=True),
        origins=dict(resolved.origins),
        problems=list(resolved.problems),
        documents=[_document(document, digest=params.digests) for document in services.documents],
        journal=services.journal(),
    )


def _environment(services: Services) -> dict[str, Any]:
    engine = services.backend.engine
    return {
        "processId": os.getpid(),
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "configFile": {"path": str(user_file()), "exists": user_file().is_file()},
        "device": engine.device or None if engine is not None else None,
        "blas": dataclasses.asdict(engine.blas) if engine is not None else None,
    }


def _client(services: Services) -> dict[str, Any]:
    info = services.client_info
    return {
        "name": info.name if info else None,
        "version": info.version if info else None,
        "positionEncoding": str(services.documents.encoding.value),
        "inlineCompletion": services.client_has_inline_completion,
        "completionFallback": services.fallback_wanted,
    }


def _document(document: Document, *, digest: bool) -> DocumentReport:
    return DocumentReport(
        uri=document.uri,
        language_id=document.language_id,
        version=document.version,
        n_lines=document.text.n_lines,
        n_changes=document.n_changes,
        in_sync=document.in_sync,
        faults=sorted(document.faults),
        sha256=document.digest() if digest else None,
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
