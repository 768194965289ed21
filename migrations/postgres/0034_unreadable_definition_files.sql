-- Why the file cannot be read; its content is empty then. NULL: it can be.
ALTER TABLE vnf_package_files ADD COLUMN problem text;
