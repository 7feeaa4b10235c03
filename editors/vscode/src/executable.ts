/** Finds the server's program, so that a person is told what is missing before anything is started. */

import { access, constants, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';

/** The absolute path of a program, or nothing where there is none. `~/` is the person's home. */
export async function findExecutable(program: string): Promise<string | undefined> {
  const expanded = program.startsWith('~/') ? join(homedir(), program.slice(2)) : program;
  if (isAbsolute(expanded)) return (await isExecutable(expanded)) ? expanded : undefined;
  if (expanded.includes('/')) return undefined;
  // An editor that was not started from a terminal may lack the folder that `uv tool install` puts commands into.
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), join(homedir(), '.local', 'bin')];
  for (const folder of folders.filter(isAbsolute)) {
    const path = join(folder, expanded);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
