-- For what is asked of all projects, and for what a project has at work.
CREATE INDEX vnf_packages_vnfd_of_any ON vnf_packages (vnfd_id);
CREATE INDEX vims_name_of_any ON vims (name);
CREATE INDEX vims_list_of_all ON vims (created_at, id);
CREATE INDEX vnf_lcm_op_occs_working ON vnf_lcm_op_occs (project_id) WHERE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK');
CREATE INDEX metering_records_now ON metering_records (project_id, resource) WHERE ended_at IS NULL;
