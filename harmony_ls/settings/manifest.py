"""The settings as VS Code's ``contributes.configuration`` wants them, generated from their declaration.

Settings that an editor may not set are left out. Those that a repository may not set have machine scope, in which VS
Code reads no folder's ``.vscode/settings.json``; so have lists that a repository may only lengthen, since VS Code would
let a folder's list take the place of the person's.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from harmony_ls.settings.fields import SettingField, resolved, setting_fields

__all__ = ["SECTION", "configuration_properties", "replace_properties"]

SECTION: Final = "harmony."
"""What the names of all settings begin with in VS Code."""

_OWN: Final = f"{SECTION}server."
"""Settings of the extension itself, which the server knows nothing of."""

_SCOPES: Final[Mapping[str, str]] = {"user": "machine", "add": "machine", "workspace": "window"}
_KEPT: Final = ("enum", "minimum", "exclusiveMinimum", "maximum", "minLength", "maxLength", "pattern", "maxItems")


def configuration_properties() -> dict[str, dict[str, Any]]:
    """The settings that an editor may set, by their names in VS Code, each with its JSON schema and its scope."""
    fields = [each for each in setting_fields() if each.scope in _SCOPES]
    return {f"{SECTION}{each.key}": _property(each, order) for order, each in enumerate(fields, start=1)}


def replace_properties(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A ``package.json`` with the server's settings renewed. Those of the extension itself stay, and come first."""
    contributes = manifest["contributes"]
    configuration = contributes["configuration"]
    own = {name: each for name, each in configuration["properties"].items() if name.startswith(_OWN)}
    renewed = {**configuration, "properties": own | configuration_properties()}
    return {**manifest, "contributes": {**contributes, "configuration": renewed}}


def _property(setting: SettingField, order: int) -> dict[str, Any]:
    schema = setting.schema()
    return {
        **_plain(schema, schema["$defs"], is_optional=setting.optional),
        "default": schema.get("default"),
        "scope": _SCOPES[setting.scope],
        "order": order,
        "markdownDescription": setting.meaning,
    }


def _plain(schema: Mapping[str, Any], definitions: Mapping[str, Any], *, is_optional: bool = False) -> dict[str, Any]:
    """A schema in the part of the language that VS Code's editor of settings understands."""
    schema = resolved(schema, definitions)
    plain: dict[str, Any] = {"type": [schema["type"], "null"] if is_optional else schema["type"]}
    plain |= {name: schema[name] for name in _KEPT if name in schema}
    if "items" in schema:
        plain["items"] = _plain(schema["items"], definitions)
    if "properties" in schema:
        plain["properties"] = dict(_members(schema, definitions))
        plain["required"] = schema["required"]
        plain["additionalProperties"] = False
    return plain


def _members(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, member in schema["properties"].items():
        plain = _plain(member, definitions)
        yield name, plain | {"description": " ".join(member["description"].split())}
