// @ts-check
/**
 * Runs inside Netron's page beside the bridge: tells JupyterLab which part of the graph is shown, and shows the part
 * that another graph shows. Places are shares of the graph, so that graphs of different sizes go together.
 */
(() => {
  /** A change below this is none, in pixels. */
  const NEAR_PX = 1;
  /** @type {{x: number, y: number, zoom: number} | null} */
  let last = null;
  let pending = false;

  /** @returns {any} */
  const target = () => /** @type {any} */ (window).__view__?.target ?? null;

  /** The middle of what is shown, as shares of the graph. */
  const look = () => {
    const room = document.getElementById('target')?.getBoundingClientRect();
    const drawn = document.getElementById('canvas')?.getBoundingClientRect();
    if (!room || !drawn?.width || !drawn.height || typeof target()?.zoom !== 'number') {
      return null; // nothing is drawn, or this Netron is unknown: graphs are not linked then
    }
    return {
      x: (room.left + room.width / 2 - drawn.left) / drawn.width,
      y: (room.top + room.height / 2 - drawn.top) / drawn.height,
      zoom: target().zoom,
      width: drawn.width,
      height: drawn.height
    };
  };

  const check = () => {
    pending = false;
    const now = look();
    if (now === null) {
      return;
    }
    const moved =
      last === null ||
      Math.abs(now.x - last.x) * now.width > NEAR_PX ||
      Math.abs(now.y - last.y) * now.height > NEAR_PX ||
      Math.abs(now.zoom - last.zoom) > 0.001;
    const first = last === null;
    last = now;
    if (moved && !first && window.parent !== window) {
      const { x, y, zoom } = now;
      window.parent.postMessage({ source: 'deploykit-graph', type: 'view', x, y, zoom }, window.location.origin);
    }
  };

  const soon = () => {
    if (!pending) {
      pending = true;
      requestAnimationFrame(check);
    }
  };
  for (const name of ['scroll', 'wheel', 'pointermove', 'pointerdown', 'touchmove', 'keydown', 'keyup', 'click']) {
    window.addEventListener(name, soon, { capture: true, passive: true });
  }

  window.addEventListener('message', event => {
    if (event.origin !== window.location.origin || event.source !== window.parent) {
      return;
    }
    const { source, type, x, y, zoom } = event.data ?? {};
    const room = document.getElementById('target');
    if (source !== 'deploykit' || type !== 'view' || !room || ![x, y, zoom].every(Number.isFinite) || look() === null) {
      return;
    }
    target().zoom = zoom;
    const now = look();
    if (now !== null) {
      room.scrollLeft += (x - now.x) * now.width;
      room.scrollTop += (y - now.y) * now.height;
    }
    last = look(); // what was asked for is not told again
  });
})();
