-- The journal of changes that /events/v1 streams (docs/adr/0043-one-stream-of-events.md). `sequence` is assigned after the commit of the
-- transaction that wrote the row: rows get it in the order in which they became visible.
CREATE TABLE events (
    position        INTEGER PRIMARY KEY AUTOINCREMENT,
    sequence        INTEGER UNIQUE,
    -- By the database's clock.
    at              INTEGER NOT NULL,
    project_id      TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    resource_id     TEXT    NOT NULL,
    vnf_instance_id TEXT,
    change          TEXT    NOT NULL,
    state           TEXT,
    detail          TEXT
);
CREATE INDEX events_unsequenced ON events (position) WHERE sequence IS NULL;

-- One row. Changes are written to the journal until wanted_until. `last` is the last sequence that was assigned; who has seen an event
-- before `first` may have missed some.
CREATE TABLE event_journal (
    id           INTEGER NOT NULL PRIMARY KEY,
    first        INTEGER NOT NULL,
    last         INTEGER NOT NULL,
    wanted_until INTEGER NOT NULL
);
INSERT INTO event_journal (id, first, last, wanted_until) VALUES (1, 0, 0, 0);
