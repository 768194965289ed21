-- The ServiceAccount of each project, by project; NULL: the VIM does not impersonate.
ALTER TABLE vims ADD COLUMN impersonate text;
