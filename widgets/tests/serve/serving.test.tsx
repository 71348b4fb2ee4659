// @vitest-environment jsdom
import { afterEach, expect, it } from 'vitest';
import { type IServe, Serving } from '../../src/app/serve/serving';
import { aBench, clear, show } from '../dom';

afterEach(clear);

const SERVE: IServe = {
  ready: true,
  name: 'fashion',
  server: { url: 'http://127.0.0.1:8501', port: 8501, name: 'fashion', log: 'log', curl: 'curl', clients: [] },
  taken: 0,
  free: 0,
  samples: 0
};

it("a running server's address leads to its page, in a tab that knows nothing of this one", async () => {
  const place = await show(aBench(() => null, { serve: SERVE }).bench, <Serving />);
  const link = place.querySelector('.dk-serving a') as HTMLAnchorElement;
  expect([link.href, link.target, link.rel]).toEqual(['http://127.0.0.1:8501/', '_blank', 'noopener noreferrer']);
  expect(link.textContent).toBe('http://127.0.0.1:8501');
});

it('a server that does not run has none', async () => {
  const place = await show(aBench(() => null, { serve: { ...SERVE, server: null } }).bench, <Serving />);
  expect(place.querySelector('.dk-serving a')).toBeNull();
});
