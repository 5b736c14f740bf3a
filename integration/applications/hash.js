// Node's own HTTP, both sides: the client posts pseudo-random bodies over kept connections and
// compares the digests that come back.    hash.js serve PORT | hash.js ask HOST PORT COUNT
const http = require('http');
const crypto = require('crypto');

const digest = data => crypto.createHash('sha256').update(data).digest('hex');
const [mode, host, port, count] = process.argv.slice(2);

if (mode === 'serve') {
  http.createServer((request, response) => {
    const hash = crypto.createHash('sha256');
    request.on('data', data => hash.update(data));
    request.on('end', () => response.end(hash.digest('hex')));
  }).listen(Number(host));
} else {
  const agent = new http.Agent({keepAlive: true, maxSockets: 10});
  let left = Number(count);
  let right = 0;
  const ask = () => {
    if (left-- <= 0) return;
    const body = crypto.randomBytes(1 + (left * 7919) % 200000);
    const request = http.request({host, port, agent, method: 'POST'}, response => {
      let text = '';
      response.on('data', data => text += data);
      response.on('end', () => {
        if (text === digest(body)) ++right;
        ask();
      });
    });
    request.on('error', error => { console.error(error); process.exit(1); });
    request.end(body);
  };
  for (let i = 0; i < 10; ++i) ask();
  process.on('exit', () => console.log(`right: ${right}`));
  // Every wait ends.
  setTimeout(() => { console.error('no end'); process.exit(1); }, 60000).unref();
  const watch = setInterval(() => {
    if (right < Number(count)) return;
    clearInterval(watch);
    agent.destroy();
  }, 10);
}
