"""The tools of one conversation: which there are, what each may do, and the one way in which a call is run.

Every call is answered with text, whatever goes wrong, since the model can mend its own mistakes.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from harmony_ls.messages import Message, ToolCall, ToolSpec
from harmony_ls.settings.models import ToolPermission
from harmony_ls.tools.tool import (
    ApprovalRequest,
    Approve,
    Decision,
    FiltersText,
    Remembers,
    TextFilter,
    Tool,
    ToolOutput,
)

__all__ = ["ToolBox"]

log = logging.getLogger(__name__)

# What a model can read of one result without losing sight of the rest.
_LONGEST_OUTPUT = 40_000


class ToolBox:
    """The tools that a model may call, each with its permission.

    A tool without a permission asks. ``approve`` is the port to the person; without it every question is answered no.
    ``absent`` names tools that cannot be offered here, with the reason, for people.
    """

    def __init__(
        self,
        tools: Sequence[Tool] = (),
        permissions: Mapping[str, ToolPermission] | None = None,
        approve: Approve | None = None,
        absent: Mapping[str, str] | None = None,
    ) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}
        given = permissions or {}
        self._given: Mapping[str, ToolPermission] = {name: given.get(name, "ask") for name in self._tools}
        self._permissions: dict[str, ToolPermission] = dict(self._given)
        self._approve = approve
        self._allowed: set[str] = set()
        self._allowed_scopes: set[tuple[str, str]] = set()
        self.why_absent: Mapping[str, str] = MappingProxyType(dict(absent or {}))
        self._waited_seconds = 0.0
        self._asked_at: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools, those that are off included."""
        return tuple(self._tools)

    @property
    def permissions(self) -> Mapping[str, ToolPermission]:
        """What each tool may do; what a person allowed for this conversation shows as ``allow``."""
        return {
            name: "allow" if name in self._allowed and self._permissions[name] == "ask" else self._permissions[name]
            for name in self._tools
        }

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of: the tools that are not off."""
        return tuple(tool.spec for name, tool in self._tools.items() if self._permissions[name] != "off")

    @property
    def waited_seconds(self) -> float:
        """How long questions have waited for a person's answers, one that waits now included."""
        asked = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
        return self._waited_seconds + asked

    def set_permission(self, name: str, permission: ToolPermission) -> None:
        """Change what a tool may do in this conversation. Raises KeyError for a tool that there is not."""
        if name not in self._tools:
            raise KeyError(name)
        self._permissions[name] = permission
        self._allowed.discard(name)
        self._allowed_scopes = {(tool, scope) for tool, scope in self._allowed_scopes if tool != name}

    @property
    def refused(self) -> Mapping[str, ToolPermission]:
        """The tools that were switched off in this conversation, each with what the settings say of it."""
        refused = (name for name in self._tools if self._permissions[name] == "off")
        return {name: self._given[name] for name in refused if self._given[name] != "off"}

    def refuse(self, refused: Mapping[str, ToolPermission]) -> None:
        """Switch off what was ``refused`` in the same conversation, where the settings say the same of it still."""
        for name, given in refused.items():
            if self._given.get(name) == given:
                self._permissions[name] = "off"

    def take_over(self, earlier: "ToolBox", *, refusals_alone: bool = False) -> None:
        """Keep to what a person answered in the same conversation, where its tools had to be made anew.

        That holds for each tool whose permission the settings give as they did for ``earlier``. ``refusals_alone``:
        what was allowed is asked about again.
        """
        for name, given in self._given.items():
            if earlier._given.get(name) != given:
                continue
            if earlier._permissions[name] == "off" or not refusals_alone:
                self._permissions[name] = earlier._permissions[name]
            if not refusals_alone:
                self._allowed |= earlier._allowed & {name}
                self._allowed_scopes |= {each for each in earlier._allowed_scopes if each[0] == name}

    def keep(self, earlier: "ToolBox") -> None:
        """Go on with the tools of ``earlier`` that are here, too, and with what they remember, such as the pages that
        were displayed. Closing ``earlier`` lets go of the others alone."""
        for name in self._tools:
            if name in earlier._tools:
                self._tools[name] = earlier._tools.pop(name)

    async def run(self, call: ToolCall, *, is_tainted: bool = False) -> ToolOutput:
        """Run a call, after asking where that is due, and answer it.

        ``is_tainted``: text of strangers has come into the turn, so that a permission given in advance does not count.
        """
        tool = self._tools.get(call.name)
        if tool is None or self._permissions[call.name] == "off":
            return ToolOutput(self._unknown(call.name), is_error=True)
        if (fault := _json_fault(call, tool.spec)) is not None:
            return ToolOutput(fault, is_error=True)
        try:
            asked = await tool.prepare(call)
            if isinstance(asked, ToolOutput):
                return _bounded(asked)
            if asked is not None and not await self._may(asked, is_tainted=is_tainted):
                return ToolOutput("The person did not allow this. Do not try it again; ask what to do instead.", True)
            return _bounded(await tool.run(call))
        except Exception as error:
            # A tool that fails must not end the conversation; the model is told, and the log has the rest.
            log.exception("The tool %s failed", call.name)
            # Nobody knows whose words are in an error that nobody expected.
            text = f"{call.name} failed: {type(error).__name__}: {error}"
            return _bounded(ToolOutput(text, is_error=True, is_untrusted=True))

    def go_on(self, messages: Sequence[Message]) -> None:
        """Go on with a conversation in which ``messages`` were said; with none, the tools forget what they showed."""
        for tool in self._tools.values():
            if isinstance(tool, Remembers):
                tool.go_on(messages)

    def text_filters(self) -> tuple[TextFilter, ...]:
        """What the tools make of one text of the model before people see it. A tool that was switched off meanwhile is
        asked too: the text may be about what it has shown."""
        return tuple(tool.text_filter() for tool in self._tools.values() if isinstance(tool, FiltersText))

    async def close(self) -> None:
        """Let go of what the tools hold."""
        for tool in self._tools.values():
            await tool.close()

    async def _may(self, request: ApprovalRequest, *, is_tainted: bool) -> bool:
        name = request.call.name
        if is_tainted and (request.is_steerable or not request.scope):
            # Nothing that is allowed in advance counts then, so a person is not offered to allow it either.
            request = replace(request, is_sensitive=True)
        if not request.is_sensitive:
            if (name, request.scope) in self._allowed_scopes:
                return True
            if self.permissions[name] == "allow" and not is_tainted:
                return True
        if self._approve is None:
            return False
        self._asked_at = time.monotonic()
        try:
            decision = await self._approve(request)
        finally:
            self._waited_seconds += time.monotonic() - self._asked_at
            self._asked_at = None
        if decision is Decision.SESSION and request.is_sensitive:
            pass  # a person who says so all the same has allowed this once
        elif decision is Decision.SESSION and request.scope:
            self._allowed_scopes.add((name, request.scope))
        elif decision is Decision.SESSION:
            self._allowed.add(name)
        elif decision is Decision.NEVER:
            self.set_permission(name, "off")
        return decision in (Decision.ONCE, Decision.SESSION)

    def _unknown(self, name: str) -> str:
        known = ", ".join(spec.name for spec in self.specs)
        offered = f"The tools are: {known}." if known else "There are no tools in this conversation; answer yourself."
        return f"There is no tool {name!r}. {offered}"


def _json_fault(call: ToolCall, spec: ToolSpec) -> str | None:
    """What is wrong with arguments that should be a JSON object; None where nothing is, or where text is expected."""
    if spec.parameters.get("type") != "object":
        return None
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError) as error:
        return f"The arguments of {call.name} are not valid JSON: {error}. Call it again with a JSON object."
    if not isinstance(arguments, dict):
        return f"The arguments of {call.name} must be a JSON object, not {type(arguments).__name__}. Call it again."
    return None


def _bounded(output: ToolOutput) -> ToolOutput:
    """The output as text that can be encoded, its middle left out where it is too long to be of use."""
    text = output.text
    if len(text) > _LONGEST_OUTPUT:
        half = _LONGEST_OUTPUT // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    # JSON can spell half a surrogate pair, and an answer that quotes it is no UTF-8.
    return replace(output, text=text.encode("utf-8", "replace").decode("utf-8"))
