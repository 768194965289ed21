// Points in time and durations, for people.

import { signal } from "@preact/signals";

const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);

/** "40 s", "3 min 5 s", "2 h 10 min", "3 d 4 h". */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3600), Math.floor(seconds / 86400)];
  if (days > 0) return `${days} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  if (minutes > 0) return `${minutes} min ${seconds % 60} s`;
  return `${seconds} s`;
}

/** How long ago it was; the exact time is its title. */
export function Ago({ time }: { time: string }) {
  return (
    <time dateTime={time} title={new Date(time).toLocaleString()}>
      {duration(now.value - Date.parse(time))} ago
    </time>
  );
}

/** How long it took, or takes until now. */
export function Took({ from, to }: { from: string; to?: string | undefined }) {
  return <span>{duration((to === undefined ? now.value : Date.parse(to)) - Date.parse(from))}</span>;
}

export function Moment({ time }: { time: string }) {
  return <time dateTime={time}>{new Date(time).toLocaleString()}</time>;
}
