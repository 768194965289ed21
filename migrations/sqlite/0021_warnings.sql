-- gybe:warnings: texts about what was accepted although it is probably not as it was meant.
ALTER TABLE vnf_packages ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(warnings));
ALTER TABLE vnf_instances ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(warnings));
ALTER TABLE vnf_lcm_op_occs ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(warnings));
-- Why Gybe cannot read the file, whose content is empty then; and whether TOSCA.meta or the manifest lists it.
ALTER TABLE vnf_package_files ADD COLUMN unreadable TEXT;
ALTER TABLE vnf_package_files ADD COLUMN listed INTEGER NOT NULL DEFAULT 1 CHECK (listed IN (0, 1));
