// Follows a role in the port table and calls it, its own release's instances first: node client.js ROLE[@RANGE] [PATH]
const registry = process.env.DEPLOYD_REGISTRY_URL || 'http://localhost:6080';
const [match = 'say', path = '/'] = process.argv.slice(2);
const [rows, held] = [new Map(), []]; // what is there, by id; changes that belong with the next one
let position = ''; // from where to go on when the connection was lost, or the registry restarted
async function follow() {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), 45000); // a sign of life comes every 15 seconds
  const asked = { signal: silence.signal, headers: position ? { 'last-event-id': position } : {} };
  try {
    const answer = await fetch(`${registry}/v1/watch?match=${encodeURIComponent(match)}`, asked);
    if (!answer.ok) throw new Error((await answer.json()).error);
    let text = '';
    for await (const more of answer.body.pipeThrough(new TextDecoderStream())) {
      timer.refresh();
      const events = (text + more).split('\n\n');
      text = events.pop();
      for (const event of events) take(Object.fromEntries(event.split('\n').map((line) => line.split(/: (.*)/))));
    }
  } catch (error) { console.error(`registry: ${error.cause?.code || error.message}`); }
  clearTimeout(timer); setTimeout(follow, 1000);
}
function take({ id, data }) {
  position = id || position;
  if (!data || held[held.push(JSON.parse(data)) - 1].more) return;
  for (const { type, row } of held.splice(0)) {
    if (type === 'put') rows.set(row.id, row);
    else type === 'reset' ? rows.clear() : rows.delete(row.id);
  }
  call().then(console.log);
}
async function call() {
  const isNear = ({ app, release }) => app === process.env.REPO && release === process.env.RELEASE;
  for (const { host, port } of [...rows.values()].sort((one, other) => isNear(other) - isNear(one))) {
    const answer = await fetch(`http://${host}:${port}${path}`).catch(() => null);
    if (answer?.ok) return answer.text();
  }
  return `nobody answers as ${match}`;
}
follow();
