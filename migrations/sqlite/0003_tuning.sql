-- A page of instances is the order, the ids and the versions: all from the index.
DROP INDEX vnf_instances_list;
CREATE INDEX vnf_instances_list ON vnf_instances (project_id, created_at, id, version);
