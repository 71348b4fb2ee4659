'use strict';
/* The page of a model server: what it serves, what it does, and one request to try. Text goes in as text. */

const at = id => document.getElementById(id);
const EVERY_MS = 2000;
/* How often to look for versions: every third time that the traffic is read. */
const LOOK_TICKS = 3;
const POINTS = 60;
const MOST_BARS = 10;
let token = '';
let models = [];
let image = null;
let before = null;
let ticks = 0;
let version = '';
const rates = [];

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) {
    return answer;
  }
  const words = await answer.json().then(found => found.error, () => '');
  throw Object.assign(new Error(words || `The server answered ${answer.status}.`), { status: answer.status });
}

function cell(row, text) {
  row.append(Object.assign(document.createElement('td'), { textContent: text }));
}

function shape(tensor) {
  const dims = tensor.shape ? tensor.shape.map(size => (size < 0 ? '?' : size)).join(' × ') : 'any shape';
  return `${tensor.name}: ${tensor.dtype} (${dims})`;
}

async function load() {
  let missing;
  try {
    const found = await (await ask('openapi.json')).json();
    models = found['x-models'];
    missing = found['x-missing'];
    at('login').hidden = !found.security;
    version = found.info.version;
  } catch (error) {
    at('login').hidden = error.status !== 401;
    at('state').textContent = error.status === 401 ? 'This server asks for a token.' : error.message;
    return;
  }
  list(missing);
  offer();
  choose();
  void watch();
}

/* The table: what is served, then what is not, and why. */
function list(missing) {
  const count = (number, word) => `${number} ${word}${number === 1 ? '' : 's'}`;
  const names = count(new Set(models.map(model => model.name)).size, 'model');
  at('state').textContent = `deploykit ${version}, ${names}, ${count(models.length, 'version')}`;
  at('models').replaceChildren(
    ...models.map(model => {
      const row = document.createElement('tr');
      cell(row, model.name);
      cell(row, [model.version, ...model.labels].join(', '));
      cell(row, model.gets);
      cell(row, model.platform.replace('_', ', '));
      cell(row, model.inputs.map(shape).join('; '));
      cell(row, model.outputs.map(shape).join('; '));
      return row;
    }),
    ...missing.map(one => {
      const row = Object.assign(document.createElement('tr'), { className: 'missing' });
      cell(row, one.name);
      cell(row, one.version);
      cell(row, one.state === 'LOADING' ? 'is loading' : 'not served');
      const why = Object.assign(document.createElement('td'), { colSpan: 3, textContent: one.message });
      row.append(why);
      return row;
    })
  );
}

/* The models that can be asked. */
function offer() {
  at('model').replaceChildren(
    ...models.map((model, place) => new Option(`${model.name}, version ${model.version}`, String(place)))
  );
}

const key = model => `${model.name} ${model.version}`;

/* Look whether versions have come or gone; the form stays as it is unless its model is gone. */
async function look() {
  try {
    const found = await (await ask('openapi.json')).json();
    const known = models.map(key).join();
    if (found['x-models'].map(key).join() !== known) {
      const chosen = models[Number(at('model').value)];
      models = found['x-models'];
      offer();
      const place = chosen ? models.findIndex(model => key(model) === key(chosen)) : -1;
      at('model').value = String(Math.max(0, place));
      if (place < 0) {
        choose();
      }
    }
    models = found['x-models'];
    list(found['x-missing']);
  } catch {
    // the traffic says that the server does not answer
  }
}

/* An example of zeros, or of words, in the shape that the model takes. */
function example(tensor) {
  const value = tensor.dtype === 'string' ? 'text' : tensor.dtype === 'bool' ? false : 0;
  const dims = (tensor.shape || [-1]).slice(1).map(size => (size < 0 ? 1 : size));
  const make = left => (left.length ? Array.from({ length: left[0] }, () => make(left.slice(1))) : value);
  return make(dims);
}

function choose() {
  const model = models[Number(at('model').value)];
  if (!model) {
    return;
  }
  const inputs = model.inputs.filter(tensor => model.needed.includes(tensor.name));
  const row = inputs.length === 1 ? example(inputs[0]) : Object.fromEntries(inputs.map(t => [t.name, example(t)]));
  at('body').value = JSON.stringify({ instances: [row] });
  at('where').textContent = `POST ${where(model)}`;
  at('drop').hidden = !(model.inputs.length === 1 && model.images.length === 1);
  show(null);
}

const where = model => `v1/models/${encodeURIComponent(model.name)}/versions/${model.version}:predict`;

function show(file) {
  image = file;
  URL.revokeObjectURL(at('preview').src);
  at('preview').hidden = file === null;
  at('body').disabled = file !== null;
  if (file !== null) {
    at('preview').src = URL.createObjectURL(file);
    at('preview').alt = `The image ${file.name}`;
  }
}

async function predict(event) {
  event.preventDefault();
  const model = models[Number(at('model').value)];
  if (!model) {
    return;
  }
  const sent = image
    ? { body: image, headers: { 'Content-Type': image.type || 'image/png' } }
    : { body: at('body').value, headers: { 'Content-Type': 'application/json' } };
  const began = performance.now();
  try {
    const found = await (await ask(where(model), { method: 'POST', ...sent })).json();
    const took = performance.now() - began;
    at('answer').replaceChildren(...answered(model, found, took));
  } catch (error) {
    const words = Object.assign(document.createElement('p'), { className: 'problem', textContent: error.message });
    at('answer').replaceChildren(words);
  }
}

function answered(model, found, took) {
  const words = Object.assign(document.createElement('p'), {
    className: 'soft',
    textContent: `Answered in ${took.toFixed(1)} ms, with the way there and back.`
  });
  const whole = Object.assign(document.createElement('pre'), { textContent: JSON.stringify(found, null, 1), tabIndex: 0 });
  return [words, ...bars(model, found), whole];
}

/* The best classes of the first example, where the answer is one number for each class. */
function bars(model, found) {
  const rows = found.predictions;
  const scores = Array.isArray(rows) && Array.isArray(rows[0]) ? rows[0] : null;
  if (!scores || scores.length < 2 || !scores.every(Number.isFinite)) {
    return [];
  }
  const named = scores.map((score, place) => [model.classes[place] || `class ${place}`, score]);
  const best = named.sort((a, b) => b[1] - a[1]).slice(0, MOST_BARS);
  const [low, high] = [Math.min(0, ...scores), Math.max(1e-12, ...scores)];
  return best.map(([name, score]) => {
    const line = Object.assign(document.createElement('div'), { className: 'bar' });
    const bar = document.createElement('meter');
    Object.assign(bar, { min: low, max: high, value: score });
    bar.setAttribute('aria-label', name);
    const texts = [name, score.toPrecision(4)].map(text =>
      Object.assign(document.createElement('span'), { textContent: text })
    );
    line.append(texts[0], bar, texts[1]);
    return line;
  });
}

/* Numbers of the metrics: sums over workers, models and protocols. */
function numbers(text) {
  const sums = { answered: 0, refused: 0, buckets: new Map() };
  for (const line of text.split('\n')) {
    const [, name, labels, value] = line.match(/^(\w+)\{(.*)\} (\S+)$/) || [];
    if (name === 'deploykit_requests_total') {
      const good = /status="(200|OK)"/.test(labels);
      if (!good) {
        sums.refused += Number(value);
      }
    } else if (name === 'deploykit_request_seconds_bucket') {
      const end = labels.match(/le="([^"]+)"/)[1];
      const bound = end === '+Inf' ? Infinity : Number(end);
      sums.buckets.set(bound, (sums.buckets.get(bound) || 0) + Number(value));
    } else if (name === 'deploykit_request_seconds_count') {
      sums.answered += Number(value);
    }
  }
  return sums;
}

function quantile(share, now, then) {
  const bounds = [...now.keys()].sort((a, b) => a - b);
  const counts = bounds.map(bound => now.get(bound) - (then.get(bound) || 0));
  const total = counts[counts.length - 1];
  return total > 0 ? bounds[counts.findIndex(count => count >= share * total)] : null;
}

const ms = seconds => (seconds === null ? '–' : seconds === Infinity ? '> 100 s' : `≤ ${(1000 * seconds).toPrecision(2)} ms`);

async function watch() {
  try {
    const now = { ...numbers(await (await ask('metrics')).text()), time: performance.now() };
    at('no-traffic').hidden = true;
    at('answered').textContent = String(now.answered);
    at('refused').textContent = String(now.refused);
    const then = before || { answered: now.answered, buckets: new Map(), time: now.time - EVERY_MS };
    const rate = (1000 * (now.answered - then.answered)) / (now.time - then.time);
    at('rate').textContent = rate.toFixed(rate < 10 ? 1 : 0);
    at('p50').textContent = ms(quantile(0.5, now.buckets, then.buckets) ?? quantile(0.5, now.buckets, new Map()));
    at('p99').textContent = ms(quantile(0.99, now.buckets, then.buckets) ?? quantile(0.99, now.buckets, new Map()));
    before = now;
    rates.push(rate);
    rates.splice(0, rates.length - POINTS);
    const most = Math.max(1, ...rates);
    const path = rates.map((one, k) => `${k ? 'L' : 'M'}${(600 * (k + POINTS - rates.length)) / (POINTS - 1)} ${78 - (74 * one) / most}`);
    at('line').setAttribute('d', path.join(''));
    await readMonitor(ask);
  } catch (error) {
    at('no-traffic').hidden = false;
    at('no-traffic').textContent = error.status === 403 ? 'This token is not for metrics.' : error.message;
  }
  ticks += 1;
  if (ticks % LOOK_TICKS === 0) {
    await look();
  }
  clearTimeout(watch.timer);
  watch.timer = setTimeout(() => void watch(), EVERY_MS);
}

at('login').addEventListener('submit', event => {
  event.preventDefault();
  token = at('token').value.trim();
  void load();
});
at('model').addEventListener('change', choose);
at('try').addEventListener('submit', event => void predict(event));
at('image').addEventListener('change', () => show(at('image').files[0] || null));
for (const name of ['dragover', 'dragleave', 'drop']) {
  at('drop').addEventListener(name, event => {
    event.preventDefault();
    at('drop').classList.toggle('over', name === 'dragover');
    if (name === 'drop' && event.dataTransfer.files.length) {
      show(event.dataTransfer.files[0]);
    }
  });
}
void load();
