// What a view shows of the server: read when the view opens, and again when an event says that it changed.

import { useSignalEffect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { connection, listen, type LiveEvent } from "./live";

export interface Resource<T> {
  /** The last answer; it stays while the next one is awaited. */
  value?: T;
  /** Why the last request failed. */
  error?: Error;
  /** Reads again at once. */
  reload: () => void;
}

/** Between two requests of a view, at least. */
const SHORTEST = 500;
/** Between two requests of a view without a stream of events. */
const INTERVAL = 5_000;

/** Reads with `load` for each new `key`, and again after events that `concerns` it. Asks once at a time. */
export function useResource<T>(
  key: string,
  load: (signal: AbortSignal) => Promise<T>,
  concerns: (event: LiveEvent) => boolean,
): Resource<T> {
  const [state, setState] = useState<{ key: string; value?: T; error?: Error }>({ key });
  const loader = useRef<Loader | undefined>(undefined);
  const latest = useRef({ load, concerns });
  latest.current = { load, concerns };

  useEffect(() => {
    const own = new Loader(async (signal) => {
      try {
        const value = await latest.current.load(signal);
        if (!signal.aborted) setState({ key, value });
      } catch (error) {
        if (!signal.aborted) setState((old) => ({ ...(old.key === key ? old : { key }), error: error as Error }));
      }
    });
    loader.current = own;
    own.request();
    const end = listen((event) => {
      if (event.type === "reset" || latest.current.concerns(event)) own.request();
    });
    return () => (end(), own.stop());
  }, [key]);

  useSignalEffect(() => {
    if (connection.value === "live") return;
    const timer = setInterval(() => {
      if (!document.hidden) loader.current?.request();
    }, INTERVAL);
    return () => clearInterval(timer);
  });

  const reload = (): void => loader.current?.request();
  return state.key === key ? { ...state, reload } : { reload };
}

/** Runs one request at a time, with a pause between two. Requests meanwhile become one more. */
class Loader {
  private readonly abort = new AbortController();
  private busy = false;
  private again = false;

  constructor(private readonly run: (signal: AbortSignal) => Promise<void>) {}

  request(): void {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    void this.run(this.abort.signal).then(() => setTimeout(() => this.done(), SHORTEST));
  }

  private done(): void {
    this.busy = false;
    if (this.again && !this.abort.signal.aborted) {
      this.again = false;
      this.request();
    }
  }

  stop(): void {
    this.again = false;
    this.abort.abort();
  }
}
