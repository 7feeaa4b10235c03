/** A conversation as Markdown, made from the parts of `harmony/chat/delta` as they come. It knows nothing of the editor. */

/** A part of a turn, as editors/PROTOCOL.md tells. */
export type Part =
  | { kind: 'text' | 'reasoning' | 'notice'; text: string }
  | { kind: 'toolCall'; call: number; name: string; state: 'begun' | 'growing' | 'complete'; text: string }
  | { kind: 'approval'; summary: string; detail: string }
  | { kind: 'toolResult'; name: string; text: string; isError: boolean }
  | Usage;

export interface Usage {
  kind: 'usage';
  generatedTokens: number;
  firstTokenMs: number | null;
  decodeSeconds: number;
}

/** Longer than any with which code is fenced in what a tool is given or answers. */
const FENCE = '`'.repeat(8);

export class Transcript {
  #text = '';
  /** What the text ends within, so that the next piece of the same kind goes on there. */
  #within = '';
  /** What ends that. */
  #end = '';

  get text(): string {
    return this.#text + this.#rest;
  }

  get #rest(): string {
    return this.#text.endsWith('\n') ? this.#end.trimStart() : this.#end;
  }

  /** What the person said. */
  said(text: string, attachments: readonly string[]): void {
    this.#block(`${this.#text === '' ? '' : '---\n\n'}**You:** ${text}`);
    if (attachments.length > 0) this.#block(`*With ${attachments.join(', ')}*`);
  }

  add(part: Part): void {
    switch (part.kind) {
      case 'text':
        return this.#grow('text', '', part.text, '');
      case 'reasoning':
        return this.#grow('reasoning', '> ', part.text.replaceAll('\n', '\n> '), '');
      case 'toolCall':
        if (part.state === 'complete') return this.#close();
        return this.#grow(`call ${part.call}`, `*${part.name}*\n\n${FENCE}\n`, part.text, `\n${FENCE}`);
      case 'approval':
        return this.#block(`**${part.summary}?**\n\n${fenced('diff', part.detail)}`);
      case 'toolResult':
        return this.#block(`*${part.name} ${part.isError ? 'failed' : 'answered'}:*\n\n${fenced('', part.text)}`);
      case 'notice':
        return this.#block(`> **Note:** ${part.text.replaceAll('\n', '\n> ')}`);
      case 'usage':
        return undefined;
    }
  }

  /** How a turn ended. */
  ended(finishReason: string, usage: Usage | null): void {
    const said = finishReason === 'stop' ? [] : [finishReason];
    if (usage !== null) {
      said.push(`${usage.generatedTokens} tokens`);
      if (usage.decodeSeconds > 0) said.push(`${(usage.generatedTokens / usage.decodeSeconds).toFixed(1)} tokens/s`);
    }
    if (said.length > 0) this.#block(`*${said.join(', ')}*`);
  }

  failed(message: string): void {
    this.#block(`**Error:** ${message}`);
  }

  #grow(within: string, start: string, text: string, end: string): void {
    if (this.#within !== within) {
      this.#close();
      this.#text += start;
    }
    this.#within = within;
    this.#end = end;
    this.#text += text;
  }

  #block(text: string): void {
    this.#close();
    this.#text += text;
    this.#close();
  }

  #close(): void {
    this.#text += this.#rest;
    if (this.#text !== '' && !this.#text.endsWith('\n\n')) this.#text += this.#text.endsWith('\n') ? '\n' : '\n\n';
    this.#within = this.#end = '';
  }
}

function fenced(language: string, text: string): string {
  return `${FENCE}${language}\n${text}${text.endsWith('\n') ? '' : '\n'}${FENCE}`;
}
