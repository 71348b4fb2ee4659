// @ts-check
/**
 * Runs inside Netron's page, before Netron does: tells it which model to show, asks JupyterLab for the model's files, gives
 * the page JupyterLab's theme, tells JupyterLab which layer was selected, and selects the layer JupyterLab names. Messages
 * are described in src/graph/messages.ts.
 */
(() => {
  const parameters = new URLSearchParams(window.location.search);
  const path = parameters.get('path') ?? '';

  /** @param {Record<string, unknown>} message */
  const tell = message => {
    if (window.parent !== window) {
      window.parent.postMessage({ source: 'deploykit-graph', ...message }, window.location.origin);
    }
  };
  /** @param {string} what */
  const broken = what => tell({ type: 'broken', message: what });

  /**
   * @param {string} name
   * @param {string} content
   */
  const addMeta = (name, content) => {
    const meta = document.createElement('meta');
    meta.name = name;
    meta.content = content;
    document.head.appendChild(meta);
  };
  /** Files beside the model are found beside this address, which nothing but this script understands. */
  const FILES = 'deploykit-model/';
  if (path) {
    const name = path.split('/').pop() ?? path;
    addMeta('file', FILES + encodeURIComponent(name));
    addMeta('identifier', name);
  }

  /**
   * The bytes of the model or of a file beside it, by the address Netron has for it; null for other addresses. JupyterLab
   * reads them: this page has an origin of its own, and the server gives it nothing.
   * @param {string} url
   * @returns {Promise<Uint8Array> | null}
   */
  const read = url => {
    const [, name] = url.split('?')[0]?.split(`/${FILES}`) ?? [];
    if (name === undefined) {
      return null;
    }
    return new Promise((resolve, reject) => {
      const { port1, port2 } = new MessageChannel(); // its answer reaches no other page, wherever the frame is by then
      port1.onmessage = ({ data }) => {
        port1.close();
        if (data?.bytes instanceof ArrayBuffer) {
          resolve(new Uint8Array(data.bytes));
        } else {
          reject(new Error(String(data?.reason ?? 'The file could not be read.')));
        }
      };
      const message = { source: 'deploykit-graph', type: 'read', name: decodeName(name) };
      window.parent.postMessage(message, window.location.origin, [port2]);
    });
  };
  /** @param {string} name */
  const decodeName = name => {
    try {
      return decodeURIComponent(name);
    } catch {
      return name; // a model may name files beside it as it likes
    }
  };

  // Netron follows the system's theme; here its dark rules follow JupyterLab's.
  let dark = parameters.get('theme') === 'dark';
  /** @type {Set<MediaList>} */
  const darkRules = new Set();
  const applyTheme = () => {
    for (const sheet of document.styleSheets) {
      for (const rule of sheet.cssRules) {
        if (rule instanceof CSSMediaRule && rule.media.mediaText.includes('prefers-color-scheme')) {
          darkRules.add(rule.media);
        }
      }
    }
    for (const media of darkRules) {
      media.mediaText = dark ? 'all' : 'not all';
    }
    document.documentElement.style.colorScheme = dark ? 'dark' : 'light';
  };
  document.addEventListener('DOMContentLoaded', applyTheme);
  window.addEventListener('load', () => {
    applyTheme();
    if (darkRules.size === 0) {
      broken('The graph does not follow the theme.');
    }
  });

  const SHORT = 24;

  /**
   * What a node shows besides its operator: the name of its layer, and the type of its numbers.
   * @param {any} node
   * @returns {string[][]} Name, text and whole text of each line.
   */
  const facts = node => {
    const values = (node.outputs ?? []).flatMap((/** @type {any} */ argument) => argument?.value ?? []);
    const first = String(values[0]?.name ?? '').split('\n')[0] ?? '';
    const name = node.name || first.split(';')[0] || '';
    const type = values[0]?.type?.dataType;
    const found = name ? [['', name.length > SHORT ? `\u2026${name.slice(1 - SHORT)}` : name, node.name || first]] : [];
    return type && type !== '?' ? [...found, ['', String(type), `numbers of type ${type}`]] : found;
  };

  Object.assign(window, {
    deploykitFacts: facts,
    deploykitRead: read,
    /** @param {string} message */
    deploykitBroken: message => {
      tell({ type: 'failed', message: String(message) });
      return window.parent !== window;
    }
  });

  /** @type {any} */
  let view = null;
  /** @type {string | null} */
  let wanted = null;

  /**
   * All names a layer is known by, the most usual one first.
   * @param {any} node
   * @returns {string[]}
   */
  const namesOf = node => {
    const outputs = (node.outputs ?? []).flatMap((/** @type {any} */ argument) => argument?.value ?? []);
    const operator = node.type?.name ?? '';
    const place = view.activeTarget.nodes.indexOf(node);
    return [
      node.name,
      ...outputs.map((/** @type {any} */ value) => String(value?.name ?? '').split('\n')[0]),
      `${operator}_${place}`
    ].filter(Boolean);
  };

  /** @param {string} layer */
  const find = layer => {
    const nodes = view.activeTarget?.nodes ?? [];
    const last = layer.split('/').pop();
    return (
      nodes.find((/** @type {any} */ node) => node.name === layer) ??
      nodes.find((/** @type {any} */ node) => namesOf(node).includes(layer)) ??
      nodes.find((/** @type {any} */ node) => node.name && node.name.split('/').pop() === last)
    );
  };

  /** @param {any} target */
  const report = target => {
    const [element] = target.selection;
    const node = element?.value;
    if (node && Array.isArray(node.outputs) && node.type) {
      const names = namesOf(node);
      tell({ type: 'selected', layer: names[0], names, operator: String(node.type.name ?? '') });
    }
  };

  /** @param {string} layer */
  const show = layer => {
    if (!view?.target) {
      wanted = layer; // not drawn yet
      return;
    }
    wanted = null;
    const node = find(layer);
    if (node) {
      view.target.scrollTo(view.target.activate(node, 'target'));
    } else {
      tell({ type: 'missing', layer });
    }
  };

  /** @param {any} target */
  const watch = target => {
    const lacks = ['on', 'activate', 'scrollTo'].some(name => typeof target[name] !== 'function');
    if (lacks || !target.selection || !Array.isArray(view.activeTarget?.nodes)) {
      broken('Layers cannot be linked: this version of Netron is unknown.');
      return;
    }
    let pending = false;
    target.on('selectionchange', () => {
      if (!pending) {
        pending = true; // one click changes the selection several times
        queueMicrotask(() => {
          pending = false;
          report(target);
        });
      }
    });
    tell({ type: 'ready', layers: view.activeTarget.nodes.length });
    if (wanted !== null) {
      show(wanted);
    }
  };

  // Netron gives its view a new target whenever it has drawn a graph.
  /** @param {any} created */
  const connect = created => {
    view = created;
    const target = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(view), 'target');
    if (!target?.get || !target.set) {
      broken('Layers cannot be linked: this version of Netron is unknown.');
      return;
    }
    const { get, set } = target;
    Object.defineProperty(view, 'target', {
      get,
      set: drawn => {
        set.call(view, drawn);
        if (drawn) {
          watch(drawn);
        }
      }
    });
  };

  Object.defineProperty(window, '__view__', { configurable: true, get: () => view, set: connect });

  window.addEventListener('message', event => {
    if (event.origin !== window.location.origin || event.source !== window.parent) {
      return;
    }
    const message = event.data;
    if (message?.source !== 'deploykit') {
      return;
    }
    if (message.type === 'show' && typeof message.layer === 'string') {
      show(message.layer);
    } else if (message.type === 'theme') {
      dark = message.dark === true;
      applyTheme();
    }
  });
})();
