-- How much a project may have (src/domain/quota.rs). NULL: as configured; -1: unlimited. Whoever adds something that is limited locks
-- the row first, so that two who come at once count one after the other.
CREATE TABLE project_quotas (
    project_id    text PRIMARY KEY,
    vnf_instances bigint,
    packages      bigint,
    package_bytes bigint,
    operations    bigint,
    subscriptions bigint,
    vims          bigint
);
