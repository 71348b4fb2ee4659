'use strict';
/* What the monitor says: alarms, evidence of drift against its threshold, features that moved, latency bands. */

const SHOWN_FEATURES = 8;
/* Widths of the band that a bar shows at most. */
const MOST_SHIFT = 6;
const SVG = 'http://www.w3.org/2000/svg';

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const shape_of = (name, attributes) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, String(value));
  }
  return made;
};

const clock = seconds => new Date(1000 * seconds).toLocaleTimeString();

/* Read the monitor and draw it; nothing where there is none, or where this token may not see it. */
async function readMonitor(ask) {
  if (readMonitor.none) {
    return;
  }
  const panel = document.getElementById('monitor');
  try {
    const status = await (await ask('monitor')).json();
    const parts = await Promise.all(status.models.map(async model => watched(model, await past(ask, model))));
    panel.hidden = false;
    said(status);
    const focus = document.activeElement && document.activeElement.id;
    document.getElementById('watched').replaceChildren(...parts);
    if (focus && document.getElementById(focus)) {
      document.getElementById(focus).focus();
    }
  } catch (error) {
    panel.hidden = true;
    readMonitor.none = error.status === 503 || error.status === 404;
  }
}

async function past(ask, model) {
  const path = `monitor/models/${encodeURIComponent(model.name)}/versions/${model.version}/history`;
  return (await (await ask(path)).json()).filter(point => point.evidence > 0);
}

/* Alarms are replaced only if they have changed: a screen reader reads them out. */
function said(status) {
  const lines = status.alarms.map(alarm =>
    element('li', { className: 'alarm', textContent: `${alarm.model ? `${alarm.model}/${alarm.version}: ` : ''}${alarm.text}` })
  );
  const found = lines.length ? lines : [element('li', { className: 'soft', textContent: 'No alarms.' })];
  const list = document.getElementById('alarms');
  if (list.textContent !== found.map(line => line.textContent).join('')) {
    list.replaceChildren(...found);
  }
  const taken = status.resources;
  const words = taken
    ? [
        `${taken.cpu.toFixed(2)} cores`,
        `${(taken.memory_bytes / 2 ** 20).toFixed(0)} MiB`,
        `${taken.threads} threads`,
        ...(taken.growth ? [`memory ${(taken.growth.value / 2 ** 20).toFixed(1)} MiB an hour`] : []),
        ...(taken.steal > 0.01 ? [`${(100 * taken.steal).toFixed(0)} % of the machine's time goes to others`] : [])
      ]
    : [];
  document.getElementById('resources').textContent = [...words, ...status.problems].join(' · ');
}

function watched(model, history) {
  const made = element('div', { className: 'watched' });
  made.append(element('h3', { textContent: `${model.name}, version ${model.version}` }));
  const run = model.performance && model.performance.stages.find(stage => stage.stage === 'run');
  const words = [
    ...(run && run.p99_ms ? [`Run stage: ${bands(run)}.`] : []),
    ...(model.drift && !model.drift.alarm ? [model.drift.text] : []),
    ...(model.accuracy ? [model.accuracy.text] : []),
    ...(model.note ? [model.note] : [])
  ];
  made.append(...words.map(text => element('p', { textContent: text })));
  if (model.drift && history.length > 1) {
    made.append(evidence(model.drift, history));
  }
  if (model.drift && model.drift.features.length) {
    made.append(element('p', { className: 'soft', textContent: 'Shift of the mean, in widths of the band within which all is well:' }));
    made.append(...model.drift.features.slice(0, SHOWN_FEATURES).map(feature));
  }
  return made;
}

function bands(run) {
  const figure = one => `${one.value.toPrecision(3)} ms (${one.low.toPrecision(3)} to ${one.high.toPrecision(3)})`;
  const exported = run.exported_p99_ms ? `, ${run.exported_p99_ms.toPrecision(3)} ms when exported` : '';
  return `median ${figure(run.p50_ms)}, 99th percentile ${figure(run.p99_ms)}${exported}`;
}

/* Evidence over time on a logarithmic scale; the dashed line is where the alarm is raised. */
function evidence(drift, history) {
  const logs = history.map(point => Math.log10(point.evidence));
  const limit = Math.log10(drift.threshold);
  const [low, high] = [Math.min(...logs, limit) - 0.3, Math.max(...logs, limit) + 0.3];
  const y = value => 86 - (82 * (value - low)) / (high - low);
  const [first, last] = [history[0].at, history[history.length - 1].at];
  const x = at => (600 * (at - first)) / Math.max(last - first, 1e-9);
  const path = history.map((point, k) => `${k ? 'L' : 'M'}${x(point.at).toFixed(1)} ${y(logs[k]).toFixed(1)}`).join('');
  const words =
    `Evidence of drift from ${clock(first)} to ${clock(last)}, logarithmic: ${drift.evidence.toPrecision(3)} now, ` +
    `alarm at ${drift.threshold}`;
  const drawn = shape_of('svg', { class: 'evidence', viewBox: '0 0 600 90', preserveAspectRatio: 'none', role: 'img', 'aria-label': words });
  drawn.append(shape_of('line', { x1: 0, x2: 600, y1: y(limit), y2: y(limit) }), shape_of('path', { d: path }));
  return drawn;
}

/* How far a feature has moved, in widths of the band within which all is well. */
function feature(one) {
  const size = Math.min(Math.abs(one.shift), MOST_SHIFT);
  const drawn = shape_of('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const width = (50 * size) / MOST_SHIFT;
  drawn.append(shape_of('rect', { x: one.shift < 0 ? 50 - width : 50, y: 1, width, height: 8 }));
  return element(
    'div',
    { className: `feature${Math.abs(one.shift) > 1 ? ' moved' : ''}` },
    element('span', { textContent: one.name }),
    element('div', { className: 'track' }, drawn),
    element('span', { textContent: one.shift.toFixed(1) })
  );
}
