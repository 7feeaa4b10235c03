/**
 * What the server tells of its long work, of its own accord. VS Code's language client shows all of it in the status bar,
 * where nobody finds how to cancel it: what can be cancelled is a notification here, with a button.
 */

import * as vscode from 'vscode';
import {
  type BaseLanguageClient,
  type ProgressToken,
  type WorkDoneProgressBegin,
  WorkDoneProgressCancelNotification,
  type WorkDoneProgressEnd,
  type WorkDoneProgressReport,
} from 'vscode-languageclient/node';

type Step = WorkDoneProgressBegin | WorkDoneProgressReport | WorkDoneProgressEnd;

interface Shown {
  report(message: string | undefined): void;
  end(): void;
}

export class Work implements vscode.Disposable {
  client: BaseLanguageClient | undefined;
  readonly #shown = new Map<ProgressToken, Shown>();

  /** The language client's middleware: `next` shows a step in its way, and lets go of the token at the end. */
  readonly handle = (token: ProgressToken, step: Step, next: (token: ProgressToken, step: Step) => void): void => {
    const shown = this.#shown.get(token);
    if (step.kind === 'begin' && step.cancellable) {
      this.#begin(token, step);
    } else if (shown !== undefined && step.kind === 'report') {
      shown.report(step.message);
    } else {
      shown?.end();
      next(token, step);
    }
  };

  /** The server is gone, and what it worked on. */
  dispose(): void {
    for (const shown of [...this.#shown.values()]) shown.end();
  }

  #begin(token: ProgressToken, { title, message }: WorkDoneProgressBegin): void {
    const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
    void vscode.window.withProgress(options, (progress, cancellation) => {
      cancellation.onCancellationRequested(() => {
        void this.client?.sendNotification(WorkDoneProgressCancelNotification.type, { token });
      });
      return new Promise<void>((resolve) => {
        const report = (said: string | undefined): void => {
          if (said !== undefined) progress.report({ message: said });
        };
        const end = (): void => {
          this.#shown.delete(token);
          resolve();
        };
        this.#shown.set(token, { report, end });
        report(message);
      });
    });
  }
}
