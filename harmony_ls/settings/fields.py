"""The settings as a flat list of keys, which is how people and editors name them: ``inlineCompletion.maxTokens``.

It is read off the models; it adds nothing to them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from harmony_ls.settings.models import Settings

__all__ = ["Scope", "SettingField", "find_key", "resolved", "section_model", "setting_fields"]

Scope = Literal["own", "user", "add", "workspace"]


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting. ``section`` is the model that declares it, ``name`` its attribute there."""

    key: str
    section: type[BaseModel]
    name: str
    field: FieldInfo

    @property
    def scope(self) -> Scope:
        """Who may set it.

        The user's ``own`` file and command line alone, the ``user`` by the editor as well, any ``workspace`` too, or a
        workspace only to ``add`` to it.
        """
        extra = self.field.json_schema_extra
        scope = extra.get("scope") if isinstance(extra, dict) else None
        match scope:
            case "own" | "user" | "add":
                return scope
            case _:
                return "workspace"

    @property
    def optional(self) -> bool:
        """Whether the setting may be left open, so that ``null`` means that it is not set."""
        return self.field.default is None

    @property
    def meaning(self) -> str:
        """What it means, on one line."""
        return " ".join((self.field.description or "").split())

    def schema(self) -> dict[str, Any]:
        """Its JSON schema, with the definitions that it may refer to in ``$defs``; see `resolved`."""
        schema = Settings.model_json_schema()
        definitions = schema["$defs"]
        for segment in self.key.split("."):
            schema = resolved(schema, definitions)["properties"][segment]
        return schema | {"$defs": definitions}

    def value(self, settings: Settings) -> Any:
        """The value in ``settings``."""
        owner: Any = settings
        for segment in self.key.split(".")[:-1]:
            name = find_key(type(owner), segment)
            assert name is not None
            owner = getattr(owner, name)
        return getattr(owner, self.name)


def setting_fields(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[SettingField]:
    """All settings of a section, in the order of their declaration."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = section_model(field)
        if inner is not None:
            yield from setting_fields(inner, f"{key}.")
        else:
            yield SettingField(key, section, name, field)


def section_model(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section; None for a field that holds a value."""
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def find_key(section: type[BaseModel], key: str) -> str | None:
    """The attribute that ``key`` means; ``maxTokens``, ``max_tokens`` and ``max-tokens`` are the same."""
    plain = _plain(key)
    return next((name for name in section.model_fields if _plain(name) == plain), None)


def resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without the null that it may allow beside a value, and the definition in place of a reference to it."""
    if "anyOf" in schema:
        schema = next(each for each in schema["anyOf"] if each.get("type") != "null")
    name = schema.get("$ref")
    return dict(schema) if name is None else dict(definitions[name.rsplit("/", 1)[-1]])


def _plain(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()
