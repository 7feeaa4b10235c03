/** What a person has set of the server's settings. What they mean and whether they fit is for the server to say. */

import * as vscode from 'vscode';

/** The section of the settings in VS Code; the server knows it by this name too. */
export const SECTION = 'harmony';

/** The settings of this extension itself, which the server knows nothing of. */
const OWN = 'server.';

/** The settings that the extension's manifest declares, without the section's name. */
export function declaredKeys(manifest: unknown): string[] {
  const { contributes } = manifest as { contributes: { configuration: { properties: Record<string, unknown> } } };
  return Object.keys(contributes.configuration.properties).map((key) => key.slice(SECTION.length + 1));
}

/**
 * Those of the server's settings that are set somewhere in VS Code. Defaults are left out: to the server, what an editor
 * says comes before a person's `config.toml`, which nobody means to override by having said nothing.
 */
export function settingsForServer(keys: readonly string[]): Record<string, unknown> {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const settings: Record<string, unknown> = {};
  for (const key of keys.filter((each) => !each.startsWith(OWN))) {
    const found = configuration.inspect(key);
    const value = found?.workspaceFolderValue ?? found?.workspaceValue ?? found?.globalValue;
    if (value !== undefined) settings[key] = value;
  }
  return settings;
}
