-- The first schema. migrations/sqlite/ has the same file in the other dialect: same tables, same columns, same rules.
--
-- Identifiers are hyphenated UUIDs. Times are milliseconds since the epoch. What Gybe never searches by is JSON.
-- The rows of vnf_package_files and vnf_resources belong to the tenant of the row they refer to.

CREATE TABLE vnf_packages (
    id                text    NOT NULL PRIMARY KEY,
    project_id        text    NOT NULL,
    onboarding_state  text    NOT NULL CHECK (onboarding_state IN ('CREATED', 'UPLOADING', 'PROCESSING', 'ONBOARDED', 'ERROR')),
    onboarding_since  bigint  NOT NULL,
    operational_state text    NOT NULL CHECK (operational_state IN ('ENABLED', 'DISABLED')),
    user_defined_data jsonb   NOT NULL,
    created_at        bigint  NOT NULL,
    -- What onboarding found.
    vnfd_id           text,
    vnfd              jsonb,
    sha512            text,
    size              bigint,
    artifacts         jsonb,
    -- Why onboarding failed.
    problem           jsonb,
    CHECK (onboarding_state <> 'ONBOARDED'
        OR (vnfd_id IS NOT NULL AND vnfd IS NOT NULL AND sha512 IS NOT NULL AND size IS NOT NULL AND artifacts IS NOT NULL)),
    CHECK (onboarding_state = 'ONBOARDED' OR (vnfd_id IS NULL AND operational_state = 'DISABLED')),
    CHECK ((onboarding_state = 'ERROR') = (problem IS NOT NULL))
);
CREATE INDEX vnf_packages_list ON vnf_packages (project_id, created_at, id);
CREATE UNIQUE INDEX vnf_packages_vnfd ON vnf_packages (project_id, vnfd_id);

-- The texts of a package's definition files.
CREATE TABLE vnf_package_files (
    vnf_pkg_id text    NOT NULL REFERENCES vnf_packages (id) ON DELETE CASCADE,
    path       text    COLLATE "C" NOT NULL, -- sorted as SQLite sorts
    content    text    NOT NULL,
    PRIMARY KEY (vnf_pkg_id, path)
);

CREATE TABLE vims (
    id          text    NOT NULL PRIMARY KEY,
    project_id  text    NOT NULL,
    name        text    NOT NULL,
    description text    NOT NULL,
    vim_type    text    NOT NULL,
    endpoint    text    NOT NULL,
    access_info jsonb   NOT NULL,
    -- Sealed (src/store/seal.rs); NULL if there are none.
    secrets     bytea,
    vim_project text    NOT NULL,
    extra       jsonb   NOT NULL,
    is_default  boolean NOT NULL,
    user_name   text,
    created_at  bigint  NOT NULL,
    updated_at  bigint
);
CREATE INDEX vims_list ON vims (project_id, created_at, id);
CREATE UNIQUE INDEX vims_name ON vims (project_id, name);
CREATE UNIQUE INDEX vims_default ON vims (project_id) WHERE is_default;

CREATE TABLE vnf_instances (
    id                          text    NOT NULL PRIMARY KEY,
    project_id                  text    NOT NULL,
    vnf_instance_name           text,
    vnf_instance_description    text,
    vnfd_id                     text    NOT NULL,
    vnf_pkg_id                  text    NOT NULL REFERENCES vnf_packages (id),
    vnf_provider                text    NOT NULL,
    vnf_product_name            text    NOT NULL,
    vnf_software_version        text    NOT NULL,
    vnfd_version                text    NOT NULL,
    -- {"namespace": "...", ...the caller's keys}: the only place where the namespace is stored.
    vnf_metadata                jsonb   NOT NULL,
    extensions                  jsonb   NOT NULL,
    vnf_configurable_properties jsonb   NOT NULL,
    vim_connections             jsonb   NOT NULL,
    -- The secrets of vim_connections, sealed; NULL if there are none.
    vim_secrets                 bytea,
    -- NULL: NOT_INSTANTIATED.
    instantiated_vnf_info       jsonb,
    version                     bigint  NOT NULL,
    created_at                  bigint  NOT NULL
);
CREATE INDEX vnf_instances_list ON vnf_instances (project_id, created_at, id);
CREATE INDEX vnf_instances_package ON vnf_instances (vnf_pkg_id);

-- The inventory: the objects of a VNF instance in its cluster, each bare-named in the instance's namespace.
CREATE TABLE vnf_resources (
    vnf_instance_id text    NOT NULL REFERENCES vnf_instances (id),
    -- Orders the objects as they were planned.
    position        bigint  NOT NULL,
    api_version     text    NOT NULL,
    kind            text    NOT NULL,
    resource_name   text    NOT NULL,
    plural          text    NOT NULL,
    namespaced      boolean NOT NULL,
    state           text    NOT NULL CHECK (state IN ('PLANNED', 'INTENT', 'PRESENT')),
    uid             text,
    owned           boolean,
    vdu_id          text,
    manifest        jsonb   NOT NULL,
    PRIMARY KEY (vnf_instance_id, api_version, kind, resource_name),
    CHECK ((state = 'PRESENT') = (uid IS NOT NULL)),
    CHECK ((state = 'PRESENT') = (owned IS NOT NULL))
);

-- The operations, which are the conductors' queue. They outlive their VNF instance, hence no foreign key.
CREATE TABLE vnf_lcm_op_occs (
    id                      text    NOT NULL PRIMARY KEY,
    project_id              text    NOT NULL,
    vnf_instance_id         text    NOT NULL,
    operation               text    NOT NULL,
    state                   text    NOT NULL CHECK (state IN ('STARTING', 'PROCESSING', 'COMPLETED', 'FAILED_TEMP', 'FAILED', 'ROLLING_BACK', 'ROLLED_BACK')),
    state_entered_time      bigint  NOT NULL,
    start_time              bigint  NOT NULL,
    is_automatic_invocation boolean NOT NULL,
    params                  jsonb   NOT NULL,
    cancel_mode             text             CHECK (cancel_mode IN ('GRACEFUL', 'FORCEFUL')),
    error                   jsonb,
    resource_changes        jsonb,
    changed_info            jsonb,
    plan                    jsonb,
    -- Steps done in the current direction.
    steps_done              bigint  NOT NULL DEFAULT 0,
    -- How often the current step was put off.
    attempt                 bigint  NOT NULL DEFAULT 0,
    -- By the database's clock, as lease_until.
    not_before              bigint  NOT NULL,
    -- Who holds the operation, for people; the fence is lease_epoch, which counts the claims.
    lease_owner             text,
    lease_epoch             bigint  NOT NULL DEFAULT 0,
    -- 0: nobody holds it.
    lease_until             bigint  NOT NULL DEFAULT 0
);
CREATE INDEX vnf_lcm_op_occs_list ON vnf_lcm_op_occs (project_id, start_time, id);
-- One live operation per VNF instance.
CREATE UNIQUE INDEX vnf_lcm_op_occs_live ON vnf_lcm_op_occs (vnf_instance_id)
    WHERE state IN ('STARTING', 'PROCESSING', 'FAILED_TEMP', 'ROLLING_BACK');
-- Serves the claim.
CREATE INDEX vnf_lcm_op_occs_due ON vnf_lcm_op_occs (not_before, id)
    WHERE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK');
