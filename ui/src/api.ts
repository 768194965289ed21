// Requests to the APIs of Gybe, with the session of the browser, and their types.

import type { components as Audit } from "./generated/audit";
import type { components as Vims } from "./generated/vims";
import type { components as Lcm } from "./generated/vnflcm-v2";
import type { components as Packages } from "./generated/vnfpkgm-v2";

export type VnfInstance = Lcm["schemas"]["VnfInstanceV2"];
export type OpOcc = Lcm["schemas"]["VnfLcmOpOcc"] & { "gybe:progress"?: Progress };
export type Drift = Lcm["schemas"]["Drift"];
export type Subscription = Lcm["schemas"]["LccnSubscription"];
export type Undelivered = Lcm["schemas"]["UndeliveredNotification"];
export type Package = Packages["schemas"]["VnfPkgInfoV2"];
export type Vim = Vims["schemas"]["ListedVim"];
export type AuditRecord = Audit["schemas"]["Record"];
/** What a task would do. */
export type Plan = Lcm["schemas"]["Preview"];
export type ProblemDetails = Lcm["schemas"]["ProblemDetails"];

/** How far a running operation is. */
export interface Progress {
  step: number;
  of: number;
  name: string;
  label: string;
  objects?: { ready: number; total: number };
  since: string;
  reasons?: string[];
}

/** An object that a step applies, awaits or removes. */
export interface StepObject {
  apiVersion: string;
  kind: string;
  name: string;
  namespace?: string;
  state: string;
  ready?: number;
  total?: number;
  reason?: string;
  since?: string;
}

/** One attempt of one step of an operation. */
export interface Step {
  attempt: number;
  sequence: number;
  direction: "forward" | "backward";
  name: string;
  label: string;
  state: "RUNNING" | "WAITING" | "COMPLETED" | "FAILED";
  beganAt: string;
  endedAt?: string;
  conductor?: string;
  error?: string;
  objects?: StepObject[];
}

/** A response other than success. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly help?: string,
  ) {
    super(detail);
  }
}

/** Called when a request has no valid session. */
let onLoggedOut = (): void => undefined;

export function whenLoggedOut(listener: () => void): void {
  onLoggedOut = listener;
}

/** Sends a request. Throws a [`Refusal`] unless it succeeds. */
export async function send(method: string, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("X-Gybe-UI", "1");
  const response = await fetch(path, { ...init, method, headers, cache: "no-store", redirect: "error" });
  if (response.ok) return response;
  if (response.status === 401 && path !== "/ui/session") onLoggedOut();
  throw await refusal(response);
}

async function refusal(response: Response): Promise<Refusal> {
  const text = await response.text();
  try {
    const problem = JSON.parse(text) as ProblemDetails;
    return new Refusal(response.status, problem.detail, problem.help ?? undefined);
  } catch {
    return new Refusal(response.status, `The server answered ${response.status} ${response.statusText}.`);
  }
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await send("GET", path, signal ? { signal } : {});
  return (await response.json()) as T;
}

/** Sends a JSON body. Returns the path of what the request made. */
export async function post(path: string, body: unknown = {}): Promise<string | undefined> {
  const headers = { "Content-Type": "application/json" };
  const response = await send("POST", path, { headers, body: JSON.stringify(body) });
  const location = response.headers.get("Location");
  return location === null ? undefined : pathOf(location);
}

/** What the task would do, as a plan that can be run. */
export async function preview(path: string, body: unknown): Promise<Plan> {
  const headers = { "Content-Type": "application/json" };
  const response = await send("POST", `${path}/preview`, { headers, body: JSON.stringify(body) });
  return (await response.json()) as Plan;
}

/** A page of a list. */
export interface Page<T> {
  items: T[];
  /** The path of the next page. */
  next?: string;
}

export async function list<T>(path: string, signal?: AbortSignal): Promise<Page<T>> {
  const response = await send("GET", path, signal ? { signal } : {});
  const items = (await response.json()) as T[];
  const next = /<([^>]+)>\s*;\s*rel="?next"?/.exec(response.headers.get("Link") ?? "")?.[1];
  return next === undefined ? { items } : { items, next: pathOf(next) };
}

/** Path and query of a link. Links name the host that the operator configured; requests go to the one that served the page. */
export function pathOf(link: string): string {
  const url = new URL(link, location.href);
  return url.pathname + url.search;
}

/** A condition of an attribute filter (SOL013 clause 5.2). */
export function condition(operator: string, attribute: string, ...values: string[]): string {
  const quoted = values.map((value) => `'${value.replaceAll("'", "''")}'`);
  return `(${[operator, attribute, ...quoted].join(",")})`;
}

/** The path of a list with these query parameters; those without a value are left out. */
export function query(path: string, parameters: Record<string, string | undefined>): string {
  const given = Object.entries(parameters).filter((entry): entry is [string, string] => Boolean(entry[1]));
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`;
}
