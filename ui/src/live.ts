// What changes in the server, as it changes: one stream of `GET /events/v1` for all views of the page. While there is none, because the
// connection broke or too many are open, views read again at an interval.

import { signal } from "@preact/signals";

/** A change, or "reset": changes were missed, so that everything must be read again. */
export interface LiveEvent {
  type: string;
  id?: string;
  vnfInstanceId?: string;
  opOccId?: string;
}

/** "polling": there is no stream. */
export const connection = signal<"connecting" | "live" | "polling">("connecting");

const listeners = new Set<(event: LiveEvent) => void>();

/** Calls `listener` with each change. Returns what ends that. */
export function listen(listener: (event: LiveEvent) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function publish(event: LiveEvent): void {
  for (const listener of listeners) listener(event);
}

const FIRST_DELAY = 500;
const LONGEST_DELAY = 15_000;

/** Follows the stream until `stop`, over all interruptions. */
export async function follow(stop: AbortSignal): Promise<void> {
  let last: string | undefined;
  let delay = FIRST_DELAY;
  while (!stop.aborted) {
    let next = delay;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream", "X-Gybe-UI": "1" };
      if (last !== undefined) headers["Last-Event-ID"] = last;
      const response = await fetch("/events/v1", { headers, signal: stop, cache: "no-store", redirect: "error" });
      if (response.ok && response.body) {
        connection.value = "live";
        // Changes before the stream began are in no event.
        if (last === undefined) publish({ type: "reset" });
        delay = FIRST_DELAY;
        for await (const message of messages(response.body)) {
          last = message.id ?? last;
          const event = parsed(message);
          if (event) publish(event);
        }
        next = FIRST_DELAY;
      }
    } catch {
      // The connection broke, or the page is left.
    }
    if (stop.aborted) return;
    connection.value = "polling";
    await pause(next, stop);
    delay = Math.min(delay * 2, LONGEST_DELAY);
  }
}

function pause(milliseconds: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

interface Message {
  id?: string;
  event?: string;
  data: string;
}

function parsed(message: Message): LiveEvent | undefined {
  if (message.event === "reset") return { type: "reset" };
  try {
    const data = JSON.parse(message.data) as Partial<LiveEvent>;
    return { ...data, type: message.event ?? data.type ?? "" };
  } catch {
    return undefined;
  }
}

/** The messages of an event stream (HTML standard, section 9.2.6). */
async function* messages(body: ReadableStream<Uint8Array>): AsyncGenerator<Message> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  let message: Message = { data: "" };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (message.data !== "" || message.event !== undefined) yield message;
        message = { data: "" };
        continue;
      }
      const [name, text] = field(line);
      if (name === "id") message.id = text;
      else if (name === "event") message.event = text;
      else if (name === "data") message.data += message.data === "" ? text : `\n${text}`;
    }
  }
}

function field(line: string): [string, string] {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
}
