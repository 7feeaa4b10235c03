/** The server's life in one window: found, started, restarted, and shown in the status bar. */

import * as vscode from 'vscode';
import { LanguageClient, RevealOutputChannelOn, type ServerOptions, State, type StaticFeature } from 'vscode-languageclient/node';
import { connect, parseAddress } from './address';
import { findExecutable } from './executable';
import { Work } from './progress';
import { declaredKeys, SECTION, settingsForServer } from './settings';
import type { Part } from './transcript';

/** Where the server can help: what a person edits, and not what the editor shows of its own. */
export const DOCUMENTS = [{ scheme: 'file' }, { scheme: 'untitled' }, { scheme: 'vscode-notebook-cell' }];

/** A part of a turn of the chat, as editors/PROTOCOL.md tells. */
export interface Delta {
  token: string;
  sessionId: string;
  part: Part;
}

interface Status {
  state: 'unloaded' | 'loading' | 'ready' | 'busy' | 'error';
  message?: string | null;
}

const ICONS = { unloaded: '$(circle-outline)', loading: '$(loading~spin)', ready: '$(check)', busy: '$(sync~spin)', error: '$(error)' };

/** Tells the server that this client has a chat, which code actions can open. */
const CHAT: StaticFeature = {
  fillClientCapabilities: (capabilities) => {
    capabilities.experimental = { ...capabilities.experimental, harmonyChat: true };
  },
  initialize: () => {},
  getState: () => ({ kind: 'static' }),
  clear: () => {},
};

export class Server implements vscode.Disposable {
  readonly log = vscode.window.createOutputChannel('Harmony', { log: true });
  readonly #deltas = new vscode.EventEmitter<Delta>();
  /** Parts of all turns of this window: a client has one handler for a notification, and turns run beside each other. */
  readonly onDelta = this.#deltas.event;
  readonly #keys: readonly string[];
  readonly #item = vscode.window.createStatusBarItem('status', vscode.StatusBarAlignment.Right);
  #client: LanguageClient | undefined;
  #work: Work | undefined;
  #running: Promise<void> = Promise.resolve();
  #queued: Promise<void> | undefined;

  constructor(manifest: unknown) {
    this.#keys = declaredKeys(manifest);
    this.#item.name = 'Harmony';
    this.#item.command = 'harmony-ls.showLogs';
  }

  /** The client of the running server. Throws an error for the person where none runs. */
  get client(): LanguageClient {
    if (!this.#client?.isRunning()) {
      throw new Error('The server of harmony-ls is not running. "Harmony: Show Logs" says why.');
    }
    return this.#client;
  }

  /** Start the server, anew if it runs. One restart is under way at a time, and one more waits at most. */
  restart(): Promise<void> {
    this.#queued ??= this.#running.then(() => {
      this.#queued = undefined;
      this.#running = this.#begin();
      return this.#running;
    });
    return this.#queued;
  }

  async stop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    try {
      await client?.dispose();
    } catch (error) {
      this.log.error('The server did not end well.', error as Error);
    }
    this.#work?.dispose();
  }

  dispose(): void {
    this.#deltas.dispose();
    this.#item.dispose();
    this.log.dispose();
  }

  async #begin(): Promise<void> {
    await this.stop();
    this.#show({ state: 'loading', message: 'The server is starting.' });
    let options: ServerOptions;
    try {
      options = await this.#options();
    } catch (error) {
      void this.#fail((error as Error).message);
      return;
    }
    const work = new Work();
    const client = new LanguageClient('harmony-ls', 'Harmony', options, {
      documentSelector: DOCUMENTS,
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      // The server is told that something changed, and asks.
      synchronize: { configurationSection: SECTION },
      middleware: {
        handleWorkDoneProgress: work.handle,
        workspace: { configuration: ({ items }) => items.map(() => settingsForServer(this.#keys)) },
      },
    });
    work.client = client;
    this.#work = work;
    client.registerFeature(CHAT);
    client.onDidChangeState(({ newState }) => {
      if (newState === State.Stopped) work.dispose();
    });
    client.onNotification('harmony/chat/delta', (delta: Delta) => this.#deltas.fire(delta));
    client.onNotification('harmony/status', (status: Status) => this.#show(status));
    try {
      await client.start();
      this.#client = client;
    } catch (error) {
      void this.#fail((error as Error).message);
    }
  }

  /** How the server is reached, as it is set. Throws an error for the person where it cannot be. */
  async #options(): Promise<ServerOptions> {
    const configuration = vscode.workspace.getConfiguration(SECTION);
    const address = configuration.get('server.address', '').trim();
    if (address !== '') {
      const place = parseAddress(address);
      this.log.info('Connecting to', address);
      return () => connect(place);
    }
    const [program = '', ...args] = configuration.get<string[]>('server.command', []);
    const command = await findExecutable(program);
    if (command === undefined) {
      const named = program === '' ? 'No command is set' : `"${program}" was not found`;
      throw new Error(`${named}. Install the server (see the README), or name its command in the settings.`);
    }
    this.log.info('Starting', command, ...args);
    return { command, args };
  }

  #show(status: Status): void {
    this.#item.text = `${ICONS[status.state]} Harmony`;
    this.#item.tooltip = status.message ?? `The model is ${status.state}.`;
    this.#item.show();
  }

  async #fail(reason: string): Promise<void> {
    const message = `harmony-ls cannot start: ${reason}`;
    this.log.error(message);
    this.#show({ state: 'error', message });
    const [settings, logs] = ['Open Settings', 'Show Logs'];
    const chosen = await vscode.window.showErrorMessage(message, settings, logs);
    if (chosen === logs) this.log.show();
    if (chosen === settings) {
      await vscode.commands.executeCommand('workbench.action.openSettings', `${SECTION}.server`);
    }
  }
}
