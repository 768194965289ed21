-- Sessions of browsers (src/auth/session.rs). The id is a digest of the secret in the cookie; only that secret opens the credential.
CREATE TABLE browser_sessions (
    id         text PRIMARY KEY,
    project_id text NOT NULL,
    subject    text NOT NULL,
    credential bytea NOT NULL,
    ends_at    bigint NOT NULL
);
CREATE INDEX browser_sessions_subject ON browser_sessions (project_id, subject, ends_at);
CREATE INDEX browser_sessions_ends_at ON browser_sessions (ends_at);
