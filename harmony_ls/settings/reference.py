"""The settings as a table in Markdown, generated from their declaration for the README."""

import json

from harmony_ls.settings.fields import SettingField, resolved, setting_fields

__all__ = ["END_MARKER", "START_MARKER", "markdown_table", "replace_table"]

START_MARKER = "<!-- settings:start -->"
END_MARKER = "<!-- settings:end -->"

WHO = {"own": "you, not by the editor", "user": "you", "workspace": "you, workspace", "add": "you; workspace adds"}


def markdown_table() -> str:
    """One row for every setting, in the order of their declaration."""
    head = ["| setting | values | default | set by | meaning |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *(_row(setting) for setting in setting_fields())])


def replace_table(document: str) -> str:
    """``document`` with the table between its markers renewed. Raises ValueError where a marker is missing."""
    before, start, rest = document.partition(START_MARKER)
    _, end, after = rest.partition(END_MARKER)
    if not start or not end:
        raise ValueError(f"the document needs {START_MARKER} and {END_MARKER}")
    return f"{before}{START_MARKER}\n{markdown_table()}\n{END_MARKER}{after}"


def _row(setting: SettingField) -> str:
    cells = [f"`{setting.key}`", _values(setting), _default(setting), WHO[setting.scope], setting.meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(setting: SettingField) -> str:
    default = setting.field.default
    if default is None:
        return "unset"
    if default == ():
        return "none"
    if isinstance(default, tuple):
        return ", ".join(f"`{each}`" for each in default)
    return f"`{json.dumps(default)}`"


def _values(setting: SettingField) -> str:
    schema = setting.schema()
    schema = resolved(schema, schema["$defs"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema["type"]:
        case "integer" | "number" as name:
            lower = schema.get("minimum", schema.get("exclusiveMinimum"))
            over = "above " if "exclusiveMinimum" in schema else ""
            return f"{name}, {over}{lower} to {schema['maximum']}"
        case "boolean":
            return "`true`, `false`"
        case "array":
            return f"list of {schema.get('listOf', 'globs')}"
        case "object":
            properties = schema["properties"]
            return ", ".join(f"`{name}`" for name in properties)
        case _:
            return "text"
