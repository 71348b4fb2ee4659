/** Serve: start and stop, how to call it, try it on a sample, watch it. */

import { type FormEvent, type ReactElement, useEffect, useRef, useState } from 'react';
import { Field, Reasons, useTyped, useWritten } from '../elements/field';
import {
  Button,
  CopyButton,
  Note,
  Part,
  Problem,
  useAsk,
  usePanelBusy,
  usePanelProblem,
  Waiting
} from '../elements/parts';
import { useAlive, useBench, useSection } from '../store';
import { Monitored } from './monitor';
import { type ISeen, type ITraffic, milliseconds, observed, perSecond, rateOf } from './traffic';
import { TryIt } from './tryit';

interface IServer {
  url: string;
  port: number;
  name: string;
  log: string;
  curl: string;
  clients: { title: string; code: string }[];
}

export interface IServe {
  /** Whether something was exported. */
  ready: boolean;
  name: string;
  server: IServer | null;
  /** Port that another program has, 0 for none; and one that is free. */
  taken: number;
  free: number;
  /** Samples to try. */
  samples: number;
}

declare module '../protocol' {
  interface ISections {
    serve: IServe;
  }
}

/** A page is reached where the kernel runs, which may not be where the browser does. */
const PAGE = "The server's page, in a new tab: models, traffic and a form. It is on the machine of the kernel.";
const BUSY = 'The server is being started or stopped.';
const POLL_MS = 1000;
const USUAL_PORT = 8501;
const LAST_PORT = 65_535;

export function Serving(): ReactElement | null {
  const serve = useSection('serve');
  if (serve === undefined) {
    return null;
  }
  return (
    <>
      <Part title="Serve">
        <Control serve={serve} />
        {serve.server && <Live key={serve.server.url} />}
      </Part>
      {serve.server && <Monitored key={`monitor ${serve.server.url}`} />}
      {serve.server && <Calls server={serve.server} />}
      {serve.server && <TryIt key={serve.server.url} samples={serve.samples} />}
    </>
  );
}

function Control({ serve }: { serve: IServe }): ReactElement {
  const { ask, error } = useAsk();
  const busy = usePanelBusy('serve');
  const problem = usePanelProblem('serve');
  const alive = useAlive();
  const { server } = serve;
  const worked = useRef(USUAL_PORT);
  worked.current = server?.port ?? worked.current;
  const [port, setPort] = useWritten(String(worked.current), problem || error);
  const typed = useTyped(port, text => {
    if (!/^\d{1,5}$/.test(text.trim()) || Number(text) > LAST_PORT) {
      return `“${text}” is not a port. Use a number from 0, which is any free one, to ${LAST_PORT}.`;
    }
    setPort(text.trim());
    return '';
  });
  const start = (at: number): void => {
    setPort(String(at));
    void ask('serve', { port: at });
  };
  const onSubmit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    if (serve.ready && !busy && !server) {
      const text = await typed.done();
      if (text !== null) {
        start(Number(text));
      }
    }
  };
  const taken = !server && !busy && serve.taken > 0;
  return (
    <>
      <form className="dk-line" onSubmit={event => void onSubmit(event)}>
        <Field label="Port" className="dk-port" typed={typed} disabled={server !== null || busy} />
        {server ? (
          <Button icon="close" disabled={!alive} reason={busy ? BUSY : ''} onClick={() => void ask('stop_server')}>
            Stop
          </Button>
        ) : (
          <Button
            type="submit"
            icon="play"
            kind={serve.ready ? 'primary' : 'usual'}
            disabled={!alive}
            reason={busy ? BUSY : serve.ready ? '' : 'Export a candidate first.'}
          >
            Start
          </Button>
        )}
        <span role="status">
          {server && !busy && (
            <span className="dk-serving">
              <span className="dk-dot" aria-hidden="true" />
              <b>Running</b>{' '}
              <a href={`${server.url}/`} target="_blank" rel="noopener noreferrer" title={PAGE}>
                <code>{server.url}</code>
              </a>
            </span>
          )}
        </span>
        {server && <CopyButton text={server.url} label="Copy URL" />}
      </form>
      <Reasons of={[typed]} />
      {!serve.ready && <Note>Export a candidate, then serve it.</Note>}
      {serve.ready && !server && !busy && !problem && <Note>Stopped. {serve.name} is ready to be served.</Note>}
      {busy && <Waiting what={server ? 'stopping the server' : 'checking the folder and starting the server'} />}
      {taken ? (
        <Problem words={`${serve.taken} is in use.`}>
          {serve.free > 0 && <Button onClick={() => start(serve.free)}>Use {serve.free}</Button>}
        </Problem>
      ) : (
        <Problem words={problem} />
      )}
      <Problem words={error} />
    </>
  );
}

/** Requests and times, asked for once a second while they are seen. */
function Live(): ReactElement {
  const bench = useBench();
  const [seen, setSeen] = useState<readonly ISeen[]>([]);
  const [error, setError] = useState('');
  useEffect(() => {
    let timer = 0;
    let wanted = true;
    const look = async (): Promise<void> => {
      if (!document.hidden) {
        try {
          const { value } = await bench.link.ask<ITraffic | null>('traffic');
          if (wanted && value) {
            setSeen(old => observed(old, { at: performance.now(), traffic: value }));
            setError('');
          }
        } catch (failure) {
          setError(failure instanceof Error ? failure.message : String(failure));
          return;
        }
      }
      if (wanted) {
        timer = window.setTimeout(() => void look(), POLL_MS);
      }
    };
    void look();
    return () => {
      wanted = false;
      window.clearTimeout(timer);
    };
  }, [bench]);
  const last = seen.at(-1)?.traffic;
  const rate = rateOf(seen);
  if (last && !last.alive) {
    return <Problem words={`The server stopped unexpectedly. ${last.failure}`} />;
  }
  const numbers: [string, string, string][] = [
    ['Requests/s', rate ? perSecond(rate.perSecond) : '—', 'Predictions per second over the last 10 seconds'],
    ['p50', milliseconds(rate?.p50 ?? null), 'Median server time, to within about 10 %'],
    ['p99', milliseconds(rate?.p99 ?? null), '99th percentile of server time, to within about 10 %'],
    ['Answered', String(last?.answered ?? '—'), 'Predictions since the start'],
    ['Refused', String(last?.refused ?? '—'), 'Requests that were invalid or arrived while the queue was full']
  ];
  return (
    <>
      <dl className="dk-live" aria-label="Live traffic">
        {numbers.map(([name, value, title]) => (
          <div key={name} title={title}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <Problem words={error} />
    </>
  );
}

function Calls({ server }: { server: IServer }): ReactElement {
  return (
    <Part title="Call it">
      <Snippet title="curl" code={server.curl} />
      {server.clients.map(({ title, code }) => (
        <Client key={title} title={title} code={code} />
      ))}
    </Part>
  );
}

function Client({ title, code }: { title: string; code: string }): ReactElement {
  const [open, setOpen] = useState(false);
  return (
    <div className="dk-client">
      <div className="dk-snippet-head">
        <button type="button" className="dk-fold-head" aria-expanded={open} onClick={() => setOpen(!open)}>
          Python, {title}
        </button>
        <span className="dk-grow" />
        <CopyButton text={code} label="Copy" aria-label={`Copy the Python client, ${title}`} />
      </div>
      {open && <Code code={code} label={`Python client, ${title}`} />}
    </div>
  );
}

function Snippet({ title, code }: { title: string; code: string }): ReactElement {
  return (
    <div className="dk-client">
      <div className="dk-snippet-head">
        <b>{title}</b>
        <span className="dk-grow" />
        <CopyButton text={code} label="Copy" aria-label={`Copy the ${title} line`} />
      </div>
      <Code code={code} label={title} />
    </div>
  );
}

function Code({ code, label }: { code: string; label: string }): ReactElement {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so it must be reached by keyboard
    <pre className="dk-snippet" tabIndex={0} role="region" aria-label={label}>
      {code}
    </pre>
  );
}
