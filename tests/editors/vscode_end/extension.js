// The end inside VS Code of tests/editors/vscode.py: it takes one JSON message a line, runs its JavaScript beside the
// extensions and answers with what that returns. A message with `poll` is asked again, every so many milliseconds, until
// it returns something that is true. The first line that it sends is the window's folder. It knows nothing of harmony-ls.

const net = require('node:net');
const vscode = require('vscode');

const AsyncFunction = (async () => {}).constructor;
// What chunks share within a window.
const kept = {};

function activate() {
  const socket = net.createConnection(process.env.HARMONY_TEST_SOCKET);
  const send = (message) => socket.write(JSON.stringify(message) + '\n');
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? '';
  let received = '';

  async function run(message) {
    try {
      const result = await new AsyncFunction('vscode', 'kept', message.js)(vscode, kept);
      if (message.poll !== undefined && !result) setTimeout(() => run(message), message.poll);
      else send({ id: message.id, ok: true, result: result ?? null });
    } catch (error) {
      send({ id: message.id, ok: false, result: String(error?.stack ?? error) });
    }
  }

  socket.on('connect', () => send({ folder }));
  // A test that ends closes its end.
  socket.on('error', () => {});
  socket.setEncoding('utf8');
  socket.on('data', (data) => {
    const lines = (received + data).split('\n');
    received = lines.pop();
    lines.forEach((line) => run(JSON.parse(line)));
  });
}

module.exports = { activate };
