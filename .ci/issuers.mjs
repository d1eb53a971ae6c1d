// The half of `.ci/issuers` that is written in JavaScript: npm's `oauth2-mock-server`, an issuer with its endpoints, and
// `jose`, which signs what it is told to. It runs in the folder where both are installed.
//
//   node issuers.mjs KEY CERTIFICATE
//
// Prints the issuer's URL; then answers each line of JSON with a line of JSON.

import { createInterface } from 'node:readline';
import { OAuth2Server } from 'oauth2-mock-server';
import { SignJWT, UnsecuredJWT, exportJWK, generateKeyPair } from 'jose';

const [key, certificate] = process.argv.slice(2);
const server = new OAuth2Server(key, certificate);
await server.issuer.keys.generate('RS256', { kid: 'k1' });
await server.start(0, 'localhost');
const { port } = server.address();
console.log(server.issuer.url);

const pairs = {};

const commands = {
  // Another key, which is published from now on.
  rotate: async ({ kid, alg }) => { await server.issuer.keys.generate(alg, { kid }); },
  stop: async () => {
    const { url } = server.issuer;
    await server.stop();
    // It signs on.
    server.issuer.url = url;
  },
  start: async () => { await server.start(port, 'localhost'); },
  // A token of the issuer, by the key of that name.
  token: async ({ kid, claims }) => server.issuer.buildToken({
    kid,
    scopesOrTransform: (_, payload) => { Object.assign(payload, claims); },
  }),
  // The keys that `jose` signs with, one for each algorithm.
  keys: async ({ algs }) => {
    const keys = [];
    for (const alg of algs) {
      pairs[alg] = await generateKeyPair(alg, { extractable: true });
      keys.push({ ...(await exportJWK(pairs[alg].publicKey)), kid: alg, alg });
    }
    return { keys };
  },
  sign: async ({ alg, typ, claims }) => (alg === 'none'
    ? new UnsecuredJWT(claims).encode()
    : new SignJWT(claims).setProtectedHeader({ alg, typ, kid: alg }).sign(pairs[alg].privateKey)),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  console.log(JSON.stringify((await commands[command](given)) ?? null));
}
process.exit(0);
