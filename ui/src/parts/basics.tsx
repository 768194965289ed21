// What all views are made of: the frame of a view, states, errors, pages of lists.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Refusal } from "../api";
import type { Resource } from "../resource";

/** The frame of a view. Its heading gets the focus, so that screen readers say where one is. */
export function View({ title, children, actions }: { title: string; children: ComponentChildren; actions?: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Gybe`;
  }, [title]);
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);
  return (
    <>
      <header class="view">
        <h1 tabIndex={-1} ref={heading}>
          {title}
        </h1>
        {actions === undefined ? null : <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

/** What is read, or that it is awaited, or why it could not be read. */
export function Loaded<T>({ resource, children }: { resource: Resource<T>; children: (value: T) => ComponentChildren }) {
  return (
    <>
      {resource.error === undefined ? null : <Fault error={resource.error} />}
      {resource.value === undefined ? (
        resource.error === undefined && <p class="quiet">Loading…</p>
      ) : (
        children(resource.value)
      )}
    </>
  );
}

/** Why something failed. */
export function Fault({ error }: { error: Error }) {
  const help = error instanceof Refusal ? error.help : undefined;
  return (
    <p class="fault" role="alert">
      {error instanceof Refusal ? error.message : "The server cannot be reached."}{" "}
      {help === undefined ? null : <a href={help}>What this means</a>}
    </p>
  );
}

type Tone = "bad" | "busy" | "good" | "idle";

const TONES: Record<string, Tone> = {
  FAILED_TEMP: "bad",
  FAILED: "bad",
  MISSING: "bad",
  FOREIGN: "bad",
  CHANGED: "bad",
  ERROR: "bad",
  UNREACHABLE: "bad",
  PARKED: "bad",
  STARTING: "busy",
  PROCESSING: "busy",
  ROLLING_BACK: "busy",
  RUNNING: "busy",
  WAITING: "busy",
  UPLOADING: "busy",
  PENDING: "busy",
  COMPLETED: "good",
  STARTED: "good",
  INSTANTIATED: "good",
  ONBOARDED: "good",
  REACHABLE: "good",
  IN_SYNC: "good",
  READY: "good",
};

/** A state, in words and by colour. */
export function State({ state }: { state: string }) {
  return <span class={`state ${TONES[state.toUpperCase()] ?? "idle"}`}>{state.replaceAll("_", " ").toLowerCase()}</span>;
}

/** A table that can be scrolled sideways, also by keyboard. */
export function Table({ caption, head, children }: { caption: string; head: string[]; children: ComponentChildren }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            {head.map((name) => (
              <th scope="col" key={name}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

/** Links to the next page and back to the first one. */
export function Pager({ first, next }: { first?: string | undefined; next?: string | undefined }) {
  if (first === undefined && next === undefined) return null;
  return (
    <nav class="pager" aria-label="Pages">
      {first === undefined ? null : <a href={first}>First page</a>}
      {next === undefined ? null : <a href={next}>Next page</a>}
    </nav>
  );
}

/** JSON, for those who want to see everything. */
export function Raw({ title, value }: { title: string; value: unknown }) {
  return (
    <details>
      <summary>{title}</summary>
      <pre tabIndex={0}>{JSON.stringify(value, null, 2)}</pre>
    </details>
  );
}

/** The first part of an identifier. */
export function short(id: string): string {
  return id.slice(0, 8);
}

/** The position of a page, from the link that leads to it. */
export function marker(next: string | undefined): string | undefined {
  return next === undefined ? undefined : (new URLSearchParams(next.split("?")[1]).get(MARKER) ?? undefined);
}

/** The query parameter of a list that names the position of a page. */
export const MARKER = "nextpage_opaque_marker";
