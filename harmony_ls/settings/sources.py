"""Where settings come from and how they are merged.

From low to high: the defaults, the user's ``config.toml``, ``[tool.harmony-ls]`` in the ``pyproject.toml`` of each
workspace folder, the editor's ``initializationOptions``, its answer to ``workspace/configuration``, the command line.
Sources are merged key by key. A key that cannot be used is reported and ignored: it takes nothing else with it, and
what the same source last said about that key stays in force.

Reading never raises: a source that cannot be read is one with a problem, and what it said when it could last be read
stays in force, so that a file saved in the middle of an edit takes nothing away.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ValidationError

from harmony_ls.settings.fields import SettingField, find_key, section_model, setting_fields
from harmony_ls.settings.models import Settings

__all__ = [
    "DEFAULT",
    "SECTION_NAMES",
    "Resolved",
    "Source",
    "client_source",
    "read_user_file",
    "read_workspace",
    "resolve",
    "user_file",
]

DEFAULT = "default"
SECTION_NAMES = ("harmony", "harmony-ls", "harmonyLs", "harmony_ls")
MAX_FILE_BYTES = 1_000_000
MAX_PROBLEMS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Source:
    """One place that sets things. ``name`` is how messages call it; ``workspace`` marks files of a repository.

    ``client`` marks what an editor sends, which may come from a repository too. ``unreadable`` says that ``values`` are
    missing because they could not be read.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    workspace: bool = False
    problems: tuple[str, ...] = ()
    client: bool = False
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings in force, the source of each (by flat key), and one sentence for every key that is ignored.

    ``readable`` holds what each source said when it could last be read.
    """

    settings: Settings = field(default_factory=Settings)
    origins: Mapping[str, str] = field(default_factory=lambda: {each.key: DEFAULT for each in setting_fields()})
    problems: tuple[str, ...] = ()
    readable: Mapping[str, Source] = field(default_factory=dict, compare=False, repr=False)

    @property
    def message(self) -> str:
        """All problems as one message to show; empty where there are none."""
        if not self.problems:
            return ""
        count = "One setting is" if len(self.problems) == 1 else f"{len(self.problems)} settings are"
        lines = [f"harmony-ls: {count} ignored.", *(f"- {problem}" for problem in self.problems[:MAX_PROBLEMS_SHOWN])]
        if len(self.problems) > MAX_PROBLEMS_SHOWN:
            lines.append(f"- and {len(self.problems) - MAX_PROBLEMS_SHOWN} more")
        return "\n".join(lines)


def resolve(sources: Sequence[Source], previous: Resolved | None = None) -> Resolved:
    """Merge ``sources``, lowest first. ``previous`` is what was in force, for keys that have become unusable."""
    values: dict[str, Any] = {}
    origins = {each.key: DEFAULT for each in setting_fields()}
    problems: list[str] = []
    readable: dict[str, Source] = {}
    for given in sources:
        problems += given.problems
        source = previous.readable.get(given.name, given) if given.unreadable and previous is not None else given
        readable[source.name] = source
        for entry in _entries(source, problems):
            setting, key = entry.setting, entry.setting.key
            if source.workspace and setting.scope in ("own", "user"):
                problems.append(f"{key}: a workspace may not set this, only you may ({source.name})")
                continue
            if source.client and setting.scope == "own":
                if entry.value not in (None, setting.field.default):  # editors send the defaults that they know
                    problems.append(
                        f"{key}: an editor may not set this, since a repository can speak through it; set it in "
                        f"{user_file()} or start the server with --{_option(key)} ({source.name})"
                    )
                continue
            if entry.value is None and setting.optional:
                continue
            try:
                value = _validated(setting, entry.value)
            except ValidationError as error:
                problems += [f"{key}{_describe(each)} ({source.name})" for each in error.errors()]
                if previous is None or previous.origins.get(key) != source.name:
                    continue
                value = setting.value(previous.settings)
            if source.workspace and setting.scope == "add":
                value = tuple(dict.fromkeys([*values.get(key, setting.field.default), *value]))
            values[key] = value
            origins[key] = source.name
    return Resolved(_settings(values), origins, tuple(dict.fromkeys(problems)), readable)


def user_file() -> Path:
    """Where a person's own settings are: ``config.toml`` in the platform's folder for configuration."""
    return platformdirs.user_config_path("harmony-ls", appauthor=False) / "config.toml"


def read_user_file(path: Path | None = None) -> Source:
    """The settings of the user's own file."""
    path = path or user_file()
    content, problems = _read_toml(path)
    return Source(str(path), content, problems=problems, unreadable=bool(problems))


def read_workspace(folder: Path) -> Source:
    """The settings in ``[tool.harmony-ls]`` of a workspace folder's ``pyproject.toml``."""
    path = folder / "pyproject.toml"
    content, problems = _read_toml(path)
    tools = content.get("tool")
    section = tools.get("harmony-ls", {}) if isinstance(tools, dict) else {}
    if not isinstance(section, dict):
        problems = (f"tool.harmony-ls: must be a table ({path})",)
        return Source(str(path), workspace=True, problems=problems, unreadable=True)
    return Source(str(path), section, workspace=True, problems=problems, unreadable=bool(problems))


def client_source(name: str, values: object) -> Source:
    """What an editor sent, with or without the name of the section around it. ``null`` says nothing."""
    if values is None:
        return Source(name, client=True)
    if isinstance(values, Mapping) and len(values) == 1:
        section, inner = next(iter(values.items()))
        if section in SECTION_NAMES:
            return client_source(name, inner)
    if not isinstance(values, Mapping):
        problems = (f"the settings must be an object, not {_shorten(values)} ({name})",)
        return Source(name, problems=problems, client=True, unreadable=True)
    return Source(name, values, client=True)


@dataclass(frozen=True, slots=True)
class _Entry:
    setting: SettingField
    value: Any


def _entries(source: Source, problems: list[str]) -> Iterator[_Entry]:
    """The keys of a source that are known, each once; what is wrong with the others goes to ``problems``."""
    known = {each.key: each for each in setting_fields()}
    seen: set[str] = set()

    def walk(section: type[BaseModel], values: Mapping[Any, Any], prefix: str) -> Iterator[_Entry]:
        for given, value in values.items():
            first, _, rest = str(given).partition(".")
            name = find_key(section, first)
            if name is None:
                unknown = f"{prefix}{_shorten_key(given)}"
                # Looking for what was meant takes long; nobody is shown more than the first.
                meant = _suggest(prefix + first, known) if len(problems) < MAX_PROBLEMS_SHOWN else ""
                problems.append(f"{unknown}: no such setting{meant} ({source.name})")
                continue
            info = section.model_fields[name]
            key = f"{prefix}{info.alias or name}"
            inner = section_model(info)
            if rest:
                value = {rest: value}
            if inner is not None:
                if isinstance(value, Mapping):
                    yield from walk(inner, value, f"{key}.")
                elif value is not None:
                    problems.append(f"{key}: must be a group of settings, not {_shorten(value)} ({source.name})")
                continue
            if key in seen:
                problems.append(f"{key}: set twice, the first counts ({source.name})")
                continue
            seen.add(key)
            yield _Entry(known[key], value)

    return walk(Settings, source.values, "")


def _validated(setting: SettingField, value: Any) -> Any:
    if isinstance(value, Mapping):
        value = {_camel(setting, str(key)): each for key, each in value.items()}
    section = setting.section.model_validate({setting.name: value})
    return getattr(section, setting.name)


def _option(key: str) -> str:
    """The name of a setting as an option of the command line."""
    return "".join(f"-{each.lower()}" if each.isupper() else each for each in key)


def _camel(setting: SettingField, key: str) -> str:
    """The spelling that the model of a structured setting accepts."""
    arguments = getattr(setting.field.annotation, "__args__", ())
    for model in arguments:
        if isinstance(model, type) and issubclass(model, BaseModel):
            return find_key(model, key) or key
    return key


def _settings(values: Mapping[str, Any]) -> Settings:
    """Settings from flat keys whose values are all valid."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        owner = nested
        for section in sections:
            owner = owner.setdefault(section, {})
        owner[name] = value
    return Settings.model_validate(nested)


def _describe(error: Any) -> str:
    """A pydantic error as ``.path: must be …, not …``; the first part of its location is the setting itself."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"][1:])
    if error["type"] == "missing":
        return f"{path}: must be given"
    if error["type"] == "extra_forbidden":
        return f"{_shorten_key(path)}: no such setting"
    reason = error["msg"].replace("Input should be", "must be").replace("String should have", "must have")
    reason = reason.replace("a valid tuple", "a list").replace("a valid ", "a ").replace("a integer", "an integer")
    reason = reason.replace("None", "null").replace("a boolean", "true or false")
    return f"{path}: {reason}, not {_shorten(error['input'])}"


def _suggest(unknown: str, known: Mapping[str, SettingField]) -> str:
    """The setting that was meant: one of that name in another group, or one spelt much like it."""
    last = unknown.rpartition(".")[2]
    meant = [key for key, setting in known.items() if find_key(setting.section, last) == setting.name]
    meant += difflib.get_close_matches(unknown[:80], known, n=1)
    return f"; did you mean {meant[0]}?" if meant else ""


def _shorten_key(key: object) -> str:
    text = str(key)
    return text if len(text) <= 60 and text.isprintable() else f"{ascii(text)[:57]}..."


def _shorten(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _read_toml(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The content of a TOML file; nothing where there is no regular file of that name."""
    try:
        if not path.is_file():
            return {}, ()
        if path.stat().st_size > MAX_FILE_BYTES:
            return {}, (f"{path}: too large to be read for settings",)
        return tomllib.loads(path.read_text(encoding="utf-8-sig")), ()
    except tomllib.TOMLDecodeError as error:
        return {}, (f"{path}: not valid TOML: {error}",)
    except (OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return {}, (f"{path}: cannot be read: {error}",)
