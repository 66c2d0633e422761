// One connection of `ws`, the library for Node.js: it sends back what it receives, then sends
// messages of its own and compares what comes back.
//
// node node_peer.js MESSAGES SEND_BACK OPTIONS [URI]
//
// MESSAGES is a file: for each message one byte, 1 for text, four for the length, and the data.
// SEND_BACK is a number of messages, OPTIONS what `ws` takes as perMessageDeflate, in JSON. With a
// URI it is a client, without a server. It prints lines of JSON: its port as a server, then a report.
'use strict';

const fs = require('node:fs');
const { WebSocket, WebSocketServer } = require('ws');

const [file, sendBack, options, uri] = process.argv.slice(2);
const messages = readMessages(fs.readFileSync(file));
const perMessageDeflate = JSON.parse(options);

function readMessages(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    found.push({ isBinary: bytes[at] === 0, data: bytes.subarray(at + 5, end) });
    at = end;
  }
  return found;
}

function tell(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function agreedBy(socket) {
  // Its public interface tells the name of the extension only.
  const extension = socket._extensions['permessage-deflate'];
  return extension ? { ...extension.params } : null;
}

function converse(socket, agreed) {
  let received = 0;
  let problem = null;

  function sendAll() {
    for (const { isBinary, data } of messages) socket.send(data, { binary: isBinary });
  }

  function compare(n, data, isBinary) {
    const sent = messages[n];
    if (isBinary !== sent.isBinary || !sent.data.equals(data)) {
      problem ??= `message ${n}: sent ${sent.data.length} bytes, received ${data.length} others`;
    }
    if (n + 1 === messages.length) socket.close(1000);
  }

  socket.on('message', (data, isBinary) => {
    received += 1;
    if (received > Number(sendBack)) {
      compare(received - 1 - Number(sendBack), data, isBinary);
      return;
    }
    socket.send(data, { binary: isBinary });
    if (received === Number(sendBack)) sendAll();
  });
  socket.on('error', (error) => {
    problem ??= String(error);
  });
  socket.on('close', (code, reason) => {
    if (received !== Number(sendBack) + messages.length) {
      problem ??= `closed with ${code} ${reason} after ${received} messages`;
    }
    tell({ agreed, problem, refused: false });
  });
}

if (uri === undefined) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate });
  server.on('listening', () => tell({ port: server.address().port }));
  server.on('connection', (socket) => {
    server.close();
    converse(socket, agreedBy(socket));
  });
} else {
  const socket = new WebSocket(uri, { perMessageDeflate });
  const refuse = (error) => tell({ agreed: null, problem: String(error), refused: true });
  socket.once('error', refuse);
  socket.once('open', () => {
    socket.off('error', refuse);
    converse(socket, agreedBy(socket));
  });
}
