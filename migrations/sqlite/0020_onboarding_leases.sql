-- Onboarding is claimed under a lease, as operations are: a process that is killed leaves its packages to another one.
-- content_epoch is the lease under which the content arrived; the name of the CSAR has it (0: <id>.csar, as before).
-- source is the sealed URI, with its credentials, that the content is fetched from.
ALTER TABLE vnf_packages ADD COLUMN lease_owner TEXT;
ALTER TABLE vnf_packages ADD COLUMN lease_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vnf_packages ADD COLUMN lease_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vnf_packages ADD COLUMN content_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vnf_packages ADD COLUMN source BLOB;
ALTER TABLE vnf_packages DROP COLUMN onboarding_since;
CREATE INDEX vnf_packages_due ON vnf_packages (lease_until, id) WHERE onboarding_state IN ('UPLOADING', 'PROCESSING');
