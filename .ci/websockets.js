// The half of `.ci/websockets` that is written with npm's `ws`: a server that does as it is told, and a client.
//
//   node .ci/websockets.js FOLDER server            prints its port
//   node .ci/websockets.js FOLDER client URL KEY    over HTTP/1.1, the key in the query as browsers have to
//   node .ci/websockets.js FOLDER http2 URL KEY     over HTTP/2 (RFC 8441), as a stream of node's own client

'use strict';

const assert = require('node:assert');
const http2 = require('node:http2');
const { once } = require('node:events');

const [folder, what, url, key] = process.argv.slice(2);
const WebSocket = require(require.resolve('ws', { paths: [folder] }));

const LARGE = 10 * 1024 * 1024;
const MOST = { maxPayload: 64 * 1024 * 1024 };

function serve() {
  let last = '';
  const handleProtocols = (offered) => (offered.has('b') ? 'b' : false);
  const server = new WebSocket.Server({ host: '127.0.0.1', port: 0, perMessageDeflate: true, handleProtocols, ...MOST });
  server.on('connection', (peer, request) => {
    if (request.url.endsWith('/last')) {
      peer.send(last);
      return;
    }
    peer.on('message', (data, isBinary) => {
      const [command, ...rest] = isBinary || data.length > 100 ? [] : data.toString().split(' ');
      if (command === 'fragments') {
        peer.send('a', { fin: false });
        peer.send('b', { fin: false });
        peer.send('c', { fin: true });
      } else if (command === 'ping') {
        peer.once('pong', (payload) => peer.send(`ponged ${payload}`));
        peer.ping(rest.join(' '));
      } else if (command === 'close') {
        peer.close(Number(rest[0]), rest.slice(1).join(' '));
      } else {
        peer.send(data, { binary: isBinary });
      }
    });
    peer.on('close', (code, reason) => { last = `${code} ${reason}`; });
  });
  server.on('listening', () => console.log(server.address().port));
}

// Opens a WebSocket at a path, over either version of HTTP.
async function open(path, protocols, perMessageDeflate) {
  const to = new URL(url + path);
  if (what === 'client') {
    to.searchParams.set('Authorization', key);
    const socket = keep(new WebSocket(to, protocols, { perMessageDeflate, ...MOST }));
    await once(socket, 'open');
    return socket;
  }
  const session = http2.connect(`http://${to.host}`);
  const [settings] = await once(session, 'remoteSettings');
  assert(settings.enableConnectProtocol, 'extended CONNECT is announced');
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': to.pathname,
    authorization: `Bearer ${key}`,
    'sec-websocket-version': '13',
    ...(protocols.length > 0 && { 'sec-websocket-protocol': protocols.join(', ') }),
  });
  const [head] = await once(stream, 'response');
  assert.strictEqual(head[':status'], 200);
  const socket = keep(new WebSocket(null, undefined, { autoPong: true, closeTimeout: 30000 }));
  // Without an address it takes itself for a server's, which does not mask.
  socket._isServer = false;
  socket.setSocket(stream, Buffer.alloc(0), { allowSynchronousEvents: true, skipUTF8Validation: false, ...MOST });
  Object.defineProperty(socket, 'protocol', { value: head['sec-websocket-protocol'] ?? '' });
  socket.on('close', () => session.close());
  return socket;
}

// A message can come with the answer, before anybody asks for it.
function keep(socket) {
  socket.kept = [];
  socket.on('message', (data, isBinary) => {
    socket.kept.push(isBinary ? data : data.toString());
    socket.emit('kept');
  });
  return socket;
}

async function message(socket) {
  while (socket.kept.length === 0) {
    await once(socket, 'kept');
  }
  return socket.kept.shift();
}

async function echoes(socket, data) {
  const back = message(socket);
  socket.send(data);
  const found = await back;
  const same = typeof data === 'string' ? found === data : Buffer.isBuffer(found) && data.equals(found);
  assert(same, `${data.length} bytes come back as they went`);
}

async function call() {
  for (const deflate of what === 'client' ? [true, false] : [false]) {
    const socket = await open('/chat', ['a', 'b'], deflate);
    assert.strictEqual(socket.protocol, 'b');
    assert.strictEqual(socket.extensions.includes('permessage-deflate'), deflate);
    for (const data of ['hello', '', 'grüße 🦀', Buffer.from([0, 255, 1]), Buffer.alloc(0)]) {
      await echoes(socket, data);
    }
    let back = message(socket);
    socket.send('one,', { fin: false });
    socket.send('two,', { fin: false });
    socket.send('three', { fin: true });
    assert.strictEqual(await back, 'one,two,three');
    back = message(socket);
    socket.send('fragments');
    assert.strictEqual(await back, 'abc');
    const pong = once(socket, 'pong');
    socket.ping('are you there');
    assert.strictEqual((await pong)[0].toString(), 'are you there');
    back = message(socket);
    socket.send('ping and you');
    assert.strictEqual(await back, 'ponged and you');
    const large = Buffer.alloc(LARGE);
    for (let at = 0; at < LARGE; at += 4) {
      large.writeUInt32LE((at * 2654435761) % 4294967296, at);
    }
    await echoes(socket, large);
    await echoes(socket, 'text '.repeat(LARGE / 5));
    const closed = once(socket, 'close');
    socket.send('close 4002 because of that');
    const [code, reason] = await closed;
    assert.deepStrictEqual([code, reason.toString()], [4002, 'because of that']);

    const other = await open('/chat', [], deflate);
    assert.strictEqual(other.protocol, '');
    const gone = once(other, 'close');
    other.close(4003, 'enough');
    assert.strictEqual((await gone)[0], 4003);
    const asks = await open('/last', [], deflate);
    assert.strictEqual(await message(asks), '4003 enough');
    const done = once(asks, 'close');
    asks.close(1000);
    await done;
  }
}

if (what === 'server') {
  serve();
} else {
  // It ends by itself once its connections have.
  call().catch((error) => {
    console.error(error);
    process.exit(1);
  });
}
