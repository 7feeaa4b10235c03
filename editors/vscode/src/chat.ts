/** Questions to the model, and the read-only Markdown documents in which its answers are shown as they come. */

import { randomUUID } from 'node:crypto';
import * as vscode from 'vscode';
import { type LanguageClient, ProgressType, type WorkDoneProgressReport } from 'vscode-languageclient/node';
import { DOCUMENTS, type Server } from './server';
import { Transcript, type Usage } from './transcript';

/** The progress of a turn, which has a notification of its own: what the server begins by itself is shown elsewhere. */
const TURN = new ProgressType<WorkDoneProgressReport>();

const SCHEME = 'harmony-chat';
/** A document is made anew as a whole for each change, so that it is not for each token. */
const REFRESH_MILLISECONDS = 50;

/** What the model shall read beside the text; `editors/PROTOCOL.md` has the kinds. */
interface Attachment {
  kind: 'selection' | 'file' | 'diff';
  uri?: string;
  range?: unknown;
}

interface Result {
  sessionId: string;
  finishReason: string;
  usage: Usage | null;
}

interface Command {
  /** With its slash. */
  name: string;
  meaning: string;
  needs: 'code' | 'diff' | null;
}

/** What the code action "Explain" gives to its command. */
export interface Opening {
  text: string;
  attachments: Attachment[];
}

/** One conversation, shown in one document. */
class Conversation {
  readonly transcript = new Transcript();
  sessionId: string | null = null;
  isBusy = false;

  constructor(readonly uri: vscode.Uri) {}
}

export class Chat implements vscode.Disposable, vscode.TextDocumentContentProvider {
  readonly #server: Server;
  readonly #conversations = new Map<string, Conversation>();
  readonly #changed = new vscode.EventEmitter<vscode.Uri>();
  readonly #registration: vscode.Disposable;
  #nOpened = 0;

  constructor(server: Server) {
    this.#server = server;
    this.#registration = vscode.workspace.registerTextDocumentContentProvider(SCHEME, this);
  }

  get onDidChange(): vscode.Event<vscode.Uri> {
    return this.#changed.event;
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.#conversations.get(uri.toString())?.transcript.text ?? '';
  }

  /** Have the person write a question about what is selected; in a conversation, the next one there. */
  async ask(): Promise<void> {
    const client = this.#server.client;
    const editor = vscode.window.activeTextEditor;
    const commands = await client.sendRequest<Command[]>('harmony/chat/commands', {});
    const text = await vscode.window.showInputBox({
      title: 'Ask Harmony',
      prompt: commands.map(({ name }) => name).join(' '),
      placeHolder: 'A question, or a command with a slash',
    });
    if (!text?.trim()) return;
    const command = commands.find(({ name }) => text.trim().split(/\s/)[0]?.toLowerCase() === name);
    const attachments = attached(client, editor, command?.needs ?? null);
    await this.#turn(client, this.#conversationIn(editor) ?? this.#begin(), text, attachments);
  }

  /** Begin a conversation with a question that is already written. */
  async open({ text, attachments }: Opening): Promise<void> {
    await this.#turn(this.#server.client, this.#begin(), text, attachments);
  }

  dispose(): void {
    this.#registration.dispose();
    this.#changed.dispose();
  }

  #conversationIn(editor: vscode.TextEditor | undefined): Conversation | undefined {
    const conversation = this.#conversations.get(editor?.document.uri.toString() ?? '');
    return conversation?.isBusy ? undefined : conversation;
  }

  #begin(): Conversation {
    this.#nOpened += 1;
    const conversation = new Conversation(vscode.Uri.from({ scheme: SCHEME, path: `Harmony ${this.#nOpened}.md` }));
    this.#conversations.set(conversation.uri.toString(), conversation);
    return conversation;
  }

  /** One turn of a conversation: what was asked, and the answer as it streams. The notification cancels it. */
  async #turn(client: LanguageClient, conversation: Conversation, text: string, attachments: Attachment[]): Promise<void> {
    const { transcript, uri } = conversation;
    const [token, workDoneToken] = [randomUUID(), randomUUID()];
    const refresh = this.#refresher(uri);
    conversation.isBusy = true;
    transcript.said(text, attachments.map(named));
    refresh();
    await show(uri);
    const deltas = this.#server.onDelta((delta) => {
      if (delta.token !== token) return;
      // A turn that fails has no result, and the conversation goes on in its session all the same.
      conversation.sessionId = delta.sessionId;
      transcript.add(delta.part);
      refresh();
    });
    const options = { location: vscode.ProgressLocation.Notification, title: 'Harmony', cancellable: true };
    try {
      const result = await vscode.window.withProgress(options, async (progress, cancellation) => {
        const work = client.onProgress(TURN, workDoneToken, (value) => {
          if (value.message) progress.report({ message: value.message });
        });
        const params = { token, text, sessionId: conversation.sessionId, attachments, workDoneToken };
        try {
          return await client.sendRequest<Result>('harmony/chat', params, cancellation);
        } finally {
          work.dispose();
        }
      });
      conversation.sessionId = result.sessionId;
      transcript.ended(result.finishReason, result.usage);
    } catch (error) {
      transcript.failed((error as Error).message);
    } finally {
      deltas.dispose();
      conversation.isBusy = false;
      refresh();
    }
  }

  /** Tells the editor that a document has changed, a moment later and once for all that comes until then. */
  #refresher(uri: vscode.Uri): () => void {
    let isWaiting = false;
    return () => {
      if (isWaiting) return;
      isWaiting = true;
      setTimeout(() => {
        isWaiting = false;
        this.#changed.fire(uri);
      }, REFRESH_MILLISECONDS);
    };
  }
}

/** What goes with a question: the selection; for a command that needs code, the file where nothing is selected. */
function attached(client: LanguageClient, editor: vscode.TextEditor | undefined, needs: Command['needs']): Attachment[] {
  if (needs === 'diff') return [{ kind: 'diff' }];
  if (editor === undefined || vscode.languages.match(DOCUMENTS, editor.document) === 0) return [];
  const uri = client.code2ProtocolConverter.asUri(editor.document.uri);
  if (editor.selection.isEmpty) return needs === 'code' ? [{ kind: 'file', uri }] : [];
  return [{ kind: 'selection', uri, range: client.code2ProtocolConverter.asRange(editor.selection) }];
}

function named({ kind, uri }: Attachment): string {
  const name = uri === undefined ? undefined : vscode.workspace.asRelativePath(vscode.Uri.parse(uri, true));
  return name === undefined ? `the ${kind}` : `the ${kind} \`${name}\``;
}

async function show(uri: vscode.Uri): Promise<void> {
  const document = await vscode.workspace.openTextDocument(uri);
  const isShown = vscode.window.visibleTextEditors.some((editor) => editor.document === document);
  if (isShown) return;
  const options = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true, preview: false };
  await vscode.window.showTextDocument(document, options);
}
