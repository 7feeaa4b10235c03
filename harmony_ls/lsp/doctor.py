"""``harmony/doctor``: one report that explains what the server does, and why it is silent when it is."""

import asyncio
import dataclasses
import functools
import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import attrs

from harmony_ls.lsp.documents.documents import Document
from harmony_ls.lsp.messages.messages import DoctorParams, DoctorReport, DocumentReport
from harmony_ls.lsp.services import Services
from harmony_ls.settings.sources import user_file

if TYPE_CHECKING:
    from harmony_ls.engine.engine import Engine

__all__ = ["doctor"]

_PACKAGES = ("harmony-ls", "mlx", "mlx-lm", "transformers", "pygls", "lsprotocol")
_PIECE = 1 << 16
# One thread for all windows, so that answers come in the order of their questions.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="doctor")


async def doctor(services: Services, params: DoctorParams) -> DoctorReport:
    """Answer ``harmony/doctor``.

    The report tells what is true when this begins; what takes time is found out on a thread.
    """
    resolved = services.configuration.resolved
    documents = list(services.documents)
    texts = [str(document.text) for document in documents] if params.digests else None
    report = DoctorReport(
        environment={},
        client=_client(services),
        status=services.status.current,
        settings=resolved.settings.model_dump(mode="json", by_alias=True),
        origins=dict(resolved.origins),
        problems=list(resolved.problems),
        documents=[_document(document) for document in documents],
        journal=services.journal(),
    )
    loop = asyncio.get_running_loop()
    answer = loop.run_in_executor(_THREAD, _completed, report, services.backend.engine, texts)
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        # `shutdown` cancels what runs, and may be sent in one go with the question. The answer is there in a moment.
        return await answer


def _completed(report: DoctorReport, engine: "Engine | None", texts: Sequence[str] | None) -> DoctorReport:
    """The report with what the machine says, and with the digests of the texts of its documents."""
    documents = report.documents
    if texts is not None:
        documents = [
            attrs.evolve(document, sha256=_digest(text)) for document, text in zip(documents, texts, strict=True)
        ]
    return attrs.evolve(report, environment=_environment(engine), documents=documents)


def _digest(text: str) -> str:
    """The same as `Document.digest`, in pieces, between which other threads come to their turn."""
    digest = hashlib.sha256()
    for start in range(0, len(text), _PIECE):
        digest.update(text[start : start + _PIECE].encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _environment(engine: "Engine | None") -> dict[str, Any]:
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


def _document(document: Document) -> DocumentReport:
    return DocumentReport(
        uri=document.uri,
        language_id=document.language_id,
        version=document.version,
        n_lines=document.text.n_lines,
        n_changes=document.n_changes,
        in_sync=document.in_sync,
        faults=sorted(document.faults),
    )


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
