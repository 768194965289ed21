// Buttons that change something: one press sends one request, dangerous ones ask first, refusals are shown.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Plan } from "../api";
import { Fault } from "./basics";
import { PlanOf } from "./plan";

export interface Question {
  title: string;
  content: ComponentChildren;
  label: string;
  danger: boolean;
  /** Sends the request. The dialog stays open with the refusal if it throws one. */
  run: (form: FormData, plan?: Plan) => Promise<void>;
  /** Asks what it would do. */
  preview?: (form: FormData) => Promise<Plan>;
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
  const form = useRef<HTMLFormElement>(null);
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);
  const [plan, setPlan] = useState<Plan>();
  useEffect(() => {
    setError(undefined);
    setPlan(undefined);
    if (asked !== undefined) dialog.current?.showModal();
  }, [asked]);
  if (asked === undefined) return null;
  const close = (): void => dialog.current?.close();
  const { preview } = asked;
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setError(undefined);
    try {
      await work();
    } catch (refusal) {
      setError(refusal as Error);
    } finally {
      setBusy(false);
    }
  };
  const entered = (): FormData => new FormData(form.current ?? undefined);
  const submit = (event: Event): void => {
    event.preventDefault();
    void attempt(async () => {
      await asked.run(entered(), plan);
      close();
    });
  };
  const show = (preview: (form: FormData) => Promise<Plan>): void => {
    if (form.current?.reportValidity()) void attempt(async () => setPlan(await preview(entered())));
  };
  return (
    <dialog ref={dialog} aria-labelledby="question" onClose={() => (question.value = undefined)}>
      <form onSubmit={submit} onInput={() => setPlan(undefined)} ref={form}>
        <h2 id="question">{asked.title}</h2>
        {asked.content}
        {plan === undefined ? null : <PlanOf plan={plan} />}
        {error === undefined ? null : <Fault error={error} />}
        <div class="actions">
          <button type="button" onClick={close}>
            Back
          </button>
          {preview === undefined ? null : (
            <button type="button" disabled={busy} onClick={() => show(preview)}>
              Preview
            </button>
          )}
          <button type="submit" class={asked.danger ? "danger" : "main"} disabled={busy}>
            {plan === undefined ? asked.label : "Run this plan"}
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
