// The face of beep boop: passes every request on to a `say` of the same release.
'use strict';
const http = require('http');

// The body at `url`.
function get(url) {
  return new Promise((resolve, reject) => {
    http.get(url, { timeout: 15000 }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => { body += chunk; });
      response.on('end', () => (response.statusCode === 200 ? resolve(body) : reject(new Error(body))));
    }).on('timeout', function () { this.destroy(new Error('no answer in time')); }).on('error', reject);
  });
}

// The registry waits until there is a `say` of this release.
async function say() {
  const peers = JSON.parse(await get(`${process.env.DEPLOYD_PEERS_URL}&role=say&wait=10`));
  return peers[process.env.COMMIT].say[0];
}

http.createServer(async (request, response) => {
  response.setHeader('Content-Type', 'text/plain');
  try {
    const peer = await say();
    response.end(await get(`http://${peer.host}:${peer.port}${request.url}`));
  } catch (error) {
    response.statusCode = 502;
    response.end(`nobody to say it: ${error.message}\n`);
  }
}).listen(process.env.PORT, process.env.HOST);
