// The form that logs in, with any credential that the server takes.

import { useState } from "preact/hooks";
import { Refusal } from "../api";
import { Fault } from "../parts/basics";
import { logIn } from "../session";

export function Login() {
  const [byToken, setByToken] = useState(true);
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string): string => String(form.get(name) ?? "");
    setBusy(true);
    setError(undefined);
    try {
      await logIn(byToken ? { token: text("token").trim() } : { user: text("user"), password: text("password") });
    } catch (refusal) {
      setError(plain(refusal as Error));
      setBusy(false);
    }
  };
  return (
    <main class="login">
      <form onSubmit={(event) => void submit(event)}>
        <h1>Gybe</h1>
        <p>Log in with the credential that you use for the API.</p>
        <div class="choice" role="group" aria-label="Kind of credential">
          <button type="button" aria-pressed={byToken} onClick={() => setByToken(true)}>
            Token
          </button>
          <button type="button" aria-pressed={!byToken} onClick={() => setByToken(false)}>
            User and password
          </button>
        </div>
        {byToken ? (
          <label>
            Token
            <input name="token" type="password" autoComplete="off" required autoFocus />
          </label>
        ) : (
          <>
            <label>
              User
              <input name="user" autoComplete="username" required autoFocus />
            </label>
            <label>
              Password
              <input name="password" type="password" autoComplete="current-password" required />
            </label>
          </>
        )}
        {error === undefined ? null : <Fault error={error} />}
        <button type="submit" class="main" disabled={busy}>
          Log in
        </button>
      </form>
    </main>
  );
}

/** The answer of the API speaks to programs, about headers. */
function plain(error: Error): Error {
  const isWrong = error instanceof Refusal && error.status === 401;
  return isWrong ? new Refusal(401, "The server does not know this credential, or it has expired.") : error;
}
