// Buttons that change something: one press sends one request, dangerous ones ask first, refusals are shown.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Fault } from "./basics";

interface Question {
  title: string;
  content: ComponentChildren;
  label: string;
  danger: boolean;
  /** Sends the request. The dialog stays open with the refusal if it throws one. */
  run: (form: FormData) => Promise<void>;
}

const question = signal<Question | undefined>(undefined);

/** Opens a dialog that asks before `run`, and gives it what is entered in `content`. */
export function ask(asked: Question): void {
  question.value = asked;
}

/** The dialog; the page has one. */
export function Dialog() {
  const asked = question.value;
  const dialog = useRef<HTMLDialogElement>(null);
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    setError(undefined);
    if (asked !== undefined) dialog.current?.showModal();
  }, [asked]);
  if (asked === undefined) return null;
  const close = (): void => dialog.current?.close();
  const run = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await asked.run(new FormData(event.currentTarget as HTMLFormElement));
      close();
    } catch (refusal) {
      setError(refusal as Error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby="question" onClose={() => (question.value = undefined)}>
      <form onSubmit={(event) => void run(event as unknown as SubmitEvent)}>
        <h2 id="question">{asked.title}</h2>
        {asked.content}
        {error === undefined ? null : <Fault error={error} />}
        <div class="actions">
          <button type="button" onClick={close}>
            Back
          </button>
          <button type="submit" class={asked.danger ? "danger" : "main"} disabled={busy}>
            {asked.label}
          </button>
        </div>
      </form>
    </dialog>
  );
}

interface ActionProps {
  label: string;
  /** A name for screen readers, where the label alone says too little. */
  name?: string;
  disabled?: boolean;
  /** Sends the request, or asks first. */
  run: () => Promise<void> | void;
}

/** A button that sends a request. */
export function Action({ label, name, disabled, run }: ActionProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Error>();
  const press = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    try {
      await run();
    } catch (refusal) {
      setError(refusal as Error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <button type="button" aria-label={name} disabled={busy || disabled === true} onClick={() => void press()}>
        {label}
      </button>
      {error === undefined ? null : <Fault error={error} />}
    </>
  );
}
