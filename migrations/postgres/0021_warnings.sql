-- gybe:warnings: texts about what was accepted although it is probably not as it was meant.
ALTER TABLE vnf_packages ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]';
ALTER TABLE vnf_instances ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]';
ALTER TABLE vnf_lcm_op_occs ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]';
-- Why Gybe cannot read the file, whose content is empty then; and whether TOSCA.meta or the manifest lists it.
ALTER TABLE vnf_package_files ADD COLUMN unreadable text;
ALTER TABLE vnf_package_files ADD COLUMN listed boolean NOT NULL DEFAULT true;
