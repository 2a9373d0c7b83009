// The voice of beep boop: answers "beep boop", or "HUG ALL HUMANS" when asked for /HUG.
'use strict';
const http = require('http');

http.createServer((request, response) => {
  const wish = request.url.replace(/^\/+|\/+$/g, '');
  response.setHeader('Content-Type', 'text/plain');
  response.end(wish ? `${wish.toUpperCase()} ALL HUMANS\n` : 'beep boop\n');
}).listen(process.env.PORT, process.env.HOST);
