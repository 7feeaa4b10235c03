"""The settings in VS Code's manifest are those of the declaration; ``pytest --update`` rewrites them."""

import json
from pathlib import Path

from harmony_ls.settings.fields import setting_fields
from harmony_ls.settings.manifest import configuration_properties, replace_properties

MANIFEST = Path(__file__).parents[2] / "editors" / "vscode" / "package.json"


def test_the_manifest_holds_the_settings(update: bool) -> None:
    current = MANIFEST.read_text(encoding="utf-8")
    fresh = json.dumps(replace_properties(json.loads(current)), indent=2, ensure_ascii=False) + "\n"
    if update and fresh != current:
        MANIFEST.write_text(fresh, encoding="utf-8")
        return
    assert fresh == current, "the settings in editors/vscode/package.json are stale: run pytest with --update"


def test_a_repository_chooses_nothing_that_runs_code_or_costs_memory() -> None:
    properties = configuration_properties()
    scopes = {setting.key: setting.scope for setting in setting_fields()}
    assert {name.removeprefix("harmony.") for name in properties} == {
        key for key, scope in scopes.items() if scope != "own"
    }
    machine = {name.removeprefix("harmony.") for name, each in properties.items() if each["scope"] == "machine"}
    assert machine == {key for key, scope in scopes.items() if scope in ("user", "add")}
    assert {"model", "chat.model", "tools.applyPatch", "inlineCompletion.exclude"} <= machine
    declared = json.loads(MANIFEST.read_text(encoding="utf-8"))["contributes"]["configuration"]["properties"]
    assert {declared[f"harmony.server.{name}"]["scope"] for name in ("command", "address")} == {"machine"}


def test_the_extension_uses_what_every_vs_code_allows() -> None:
    """The tests drive a build that lets every extension use proposed interfaces; others refuse one that asks for them.

    That the code uses none is checked by its compiler, which knows the published ones alone.
    """
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    assert "enabledApiProposals" not in manifest
    assert f"^{manifest['devDependencies']['@types/vscode']}" == manifest["engines"]["vscode"]
    assert not [path.name for path in (MANIFEST.parent / "src").rglob("*.d.ts")]


def test_types_and_limits_are_those_of_the_declaration() -> None:
    properties = configuration_properties()
    temperature = properties["harmony.chat.temperature"]
    assert (temperature["type"], temperature["minimum"], temperature["maximum"]) == (["number", "null"], 0, 5)
    assert temperature["default"] is None
    effort = properties["harmony.chat.effort"]
    assert (effort["type"], effort["enum"], effort["default"]) == ("string", ["low", "medium", "high"], "medium")
    assert properties["harmony.inlineCompletion.exclude"]["items"]["type"] == "string"
    assert set(properties["harmony.inlineCompletion.fim"]["properties"]) == {"prefix", "suffix", "middle", "order"}
    assert all(each["markdownDescription"] for each in properties.values())
