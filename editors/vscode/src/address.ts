/** A server that runs already, and which several windows may share. */

import { connect as connectSocket, type Socket } from 'node:net';

export interface Address {
  host: string;
  port: number;
}

/** Reads `PORT` or `HOST:PORT`, as `harmony-ls lsp --tcp` takes it. Throws an error for the person otherwise. */
export function parseAddress(text: string): Address {
  const [, host, digits] = /^(?:(.+):)?(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port === 0 || port > 65535) {
    throw new Error(`"${text}" in harmony.server.address is no address. Write it as 127.0.0.1:2087.`);
  }
  return { host: host?.replace(/^\[(.*)\]$/, '$1') ?? '127.0.0.1', port };
}

/** A connection to the server. Throws an error for the person where there is none. */
export function connect({ host, port }: Address): Promise<{ reader: Socket; writer: Socket }> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host, port, noDelay: true });
    socket.once('connect', () => resolve({ reader: socket, writer: socket }));
    socket.once('error', (error) => {
      reject(new Error(`No server was reached at ${host}:${port} (${error.message}). Start one with harmony-ls lsp --tcp ${port}.`));
    });
  });
}
