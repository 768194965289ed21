-- The journal of changes that /events/v1 streams (docs/adr/0043-one-stream-of-events.md). `sequence` is assigned after the commit of the
-- transaction that wrote the row: rows get it in the order in which they became visible.
CREATE TABLE events (
    position        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sequence        bigint UNIQUE,
    -- By the database's clock.
    at              bigint NOT NULL,
    project_id      text   NOT NULL,
    kind            text   NOT NULL,
    resource_id     text   NOT NULL,
    vnf_instance_id text,
    change          text   NOT NULL,
    state           text,
    detail          jsonb
);
CREATE INDEX events_unsequenced ON events (position) WHERE sequence IS NULL;

-- One row. Changes are written to the journal until wanted_until. `last` is the last sequence that was assigned; who has seen an event
-- before `first` may have missed some.
CREATE TABLE event_journal (
    id           bigint NOT NULL PRIMARY KEY,
    first        bigint NOT NULL,
    last         bigint NOT NULL,
    wanted_until bigint NOT NULL
);
INSERT INTO event_journal (id, first, last, wanted_until) VALUES (1, 0, 0, 0);
