"""The report that explains the server: of one moment, and made beside the event loop."""

import asyncio
from functools import partial
from pathlib import Path

from harmony_ls.lsp.doctor import doctor
from harmony_ls.lsp.documents.documents import Change
from harmony_ls.lsp.messages.messages import DoctorParams
from tests.lsp.editor_connections import connected_editor

LONG = "x = '\ud83d' # é👍\n" * 50_000


async def test_the_report_is_of_the_moment_when_it_was_asked_for(tmp_path: Path) -> None:
    async with connected_editor(tmp_path) as (server, editor):
        uri = editor.open_text((tmp_path / "a.py").as_uri(), "x = 1\n")
        await editor.all_read()
        document = server.documents.get(uri)
        assert document is not None
        document.apply([Change(LONG)], 2)
        before = document.digest()
        asked = asyncio.create_task(doctor(server, DoctorParams(digests=True)))
        await asyncio.sleep(0)
        assert not asked.done(), "what takes long is left to a thread"
        document.apply([Change("later")], 3)
        report = await asked
        [told] = report.documents
        assert (told.version, told.sha256) == (2, before)
        assert report.environment["versions"]["pygls"]

        [told] = (await doctor(server, DoctorParams())).documents
        assert (told.version, told.sha256) == (3, None)


async def test_reports_come_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    async with connected_editor(tmp_path) as (server, editor):
        editor.open_text((tmp_path / "a.py").as_uri(), LONG)
        await editor.all_read()
        order: list[int] = []
        asked = [asyncio.create_task(doctor(server, DoctorParams(digests=number == 0))) for number in range(5)]
        for number, task in enumerate(asked):
            task.add_done_callback(partial(_append, order, number))
        await asyncio.gather(*asked)
        assert order == [0, 1, 2, 3, 4]
        one = asyncio.create_task(doctor(server, DoctorParams()))
        await asyncio.sleep(0)
        one.cancel()
        assert (await one).documents, "one that is cancelled, as by `shutdown` in one go with it, is answered still"


def _append(order: list[int], number: int, _: object) -> None:
    order.append(number)
