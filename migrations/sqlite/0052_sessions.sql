-- Sessions of browsers (src/auth/session.rs). The id is a digest of the secret in the cookie; only that secret opens the credential.
CREATE TABLE browser_sessions (
    id         TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    subject    TEXT NOT NULL,
    credential BLOB NOT NULL,
    ends_at    INTEGER NOT NULL
);
CREATE INDEX browser_sessions_subject ON browser_sessions (project_id, subject, ends_at);
CREATE INDEX browser_sessions_ends_at ON browser_sessions (ends_at);
