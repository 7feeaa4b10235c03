/** What the extension registers with VS Code. Everything else that harmony-ls offers comes from the language client. */

import * as vscode from 'vscode';
import { Chat, type Opening } from './chat';
import { Server } from './server';

let running: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const server = new Server(context.extension.packageJSON);
  const chat = new Chat(server);
  running = server;
  context.subscriptions.push(
    server,
    chat,
    vscode.commands.registerCommand('harmony-ls.ask', () => told(chat.ask())),
    vscode.commands.registerCommand('harmony-ls.openChat', (opening: Opening) => told(chat.open(opening))),
    vscode.commands.registerCommand('harmony-ls.restartServer', () => server.restart()),
    vscode.commands.registerCommand('harmony-ls.showLogs', () => server.log.show()),
    vscode.workspace.onDidChangeConfiguration(async (event) => {
      if (event.affectsConfiguration('harmony.server')) await server.restart();
    }),
  );
  await server.restart();
}

export async function deactivate(): Promise<void> {
  await running?.stop();
}

/** Show why something could not be done, in the words of whoever knows. */
async function told(doing: Promise<void>): Promise<void> {
  try {
    await doing;
  } catch (error) {
    void vscode.window.showErrorMessage((error as Error).message);
  }
}
