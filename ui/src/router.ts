// Which view is open: the fragment of the address, such as `#/operations/ID`. The server gets no fragment, so that one page serves all.

import { signal } from "@preact/signals";

export interface Route {
  /** The parts of the path. */
  path: string[];
  query: URLSearchParams;
}

export const route = signal<Route>(read());

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

addEventListener("hashchange", () => (route.value = read()));

/** The address of a view. */
export function href(path: string[], query: Record<string, string | undefined> = {}): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const text = new URLSearchParams(given).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

/** Opens a view. */
export function open(address: string): void {
  location.hash = address;
}

/** The view of the operation that a `Location` names. */
export function operationOf(location: string): string {
  return href(["operations", location.split("/").pop() ?? ""]);
}
