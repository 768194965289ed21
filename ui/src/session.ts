// Who is logged in.

import { signal } from "@preact/signals";
import { get, Refusal, send, whenLoggedOut } from "./api";

export interface Session {
  subject: string;
  projectId: string;
  role: string | null;
  /** "none": the server runs without authentication, on loopback. */
  authMethod: string;
  release: string;
}

/** `null`: nobody is logged in. `undefined`: not known yet. */
export const session = signal<Session | null | undefined>(undefined);
/** Why the server could not say who is logged in. */
export const failure = signal<Error | undefined>(undefined);

whenLoggedOut(() => (session.value = null));

/** Asks the server who is logged in. */
export async function resume(): Promise<void> {
  try {
    session.value = await get<Session | null>("/ui/session");
    failure.value = undefined;
  } catch (error) {
    failure.value = error as Error;
  }
}

/** Logs in with a token, or with user name and password. Throws a refusal. */
export async function logIn(credential: { token: string } | { user: string; password: string }): Promise<void> {
  const headers = { "Content-Type": "application/json" };
  const response = await send("POST", "/ui/session", { headers, body: JSON.stringify(credential) });
  session.value = (await response.json()) as Session;
}

/** Ends the session. */
export async function logOut(): Promise<void> {
  try {
    await send("DELETE", "/ui/session");
  } catch (error) {
    // Ended already.
    if (!(error instanceof Refusal && error.status === 401)) throw error;
  }
  session.value = null;
}

/** Whether the role allows more than reading. The server decides; this only leaves out buttons that it would refuse. */
export function mayChange(): boolean {
  return session.value?.role !== "reader";
}
