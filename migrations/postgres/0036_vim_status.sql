-- What the latest calls to the API server of the VIM showed.
ALTER TABLE vims ADD COLUMN status TEXT NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'UNREACHABLE', 'ERROR'));
