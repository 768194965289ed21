-- The first schema. migrations/postgres/ has the same file in the other dialect: same tables, same columns, same rules.
--
-- Identifiers are hyphenated UUIDs. Times are milliseconds since the epoch. What Gybe never searches by is JSON.
-- The rows of vnf_package_files and vnf_resources belong to the tenant of the row they refer to.

CREATE TABLE vnf_packages (
    id                TEXT    NOT NULL PRIMARY KEY,
    project_id        TEXT    NOT NULL,
    onboarding_state  TEXT    NOT NULL CHECK (onboarding_state IN ('CREATED', 'UPLOADING', 'PROCESSING', 'ONBOARDED', 'ERROR')),
    onboarding_since  INTEGER NOT NULL,
    operational_state TEXT    NOT NULL CHECK (operational_state IN ('ENABLED', 'DISABLED')),
    user_defined_data TEXT    NOT NULL CHECK (json_valid(user_defined_data)),
    created_at        INTEGER NOT NULL,
    -- What onboarding found.
    vnfd_id           TEXT,
    vnfd              TEXT             CHECK (json_valid(vnfd)),
    sha512            TEXT,
    size              INTEGER,
    artifacts         TEXT             CHECK (json_valid(artifacts)),
    -- Why onboarding failed.
    problem           TEXT             CHECK (json_valid(problem)),
    CHECK (onboarding_state <> 'ONBOARDED'
        OR (vnfd_id IS NOT NULL AND vnfd IS NOT NULL AND sha512 IS NOT NULL AND size IS NOT NULL AND artifacts IS NOT NULL)),
    CHECK (onboarding_state = 'ONBOARDED' OR (vnfd_id IS NULL AND operational_state = 'DISABLED')),
    CHECK ((onboarding_state = 'ERROR') = (problem IS NOT NULL))
) STRICT;
CREATE INDEX vnf_packages_list ON vnf_packages (project_id, created_at, id);
CREATE UNIQUE INDEX vnf_packages_vnfd ON vnf_packages (project_id, vnfd_id);

-- The texts of a package's definition files.
CREATE TABLE vnf_package_files (
    vnf_pkg_id TEXT NOT NULL REFERENCES vnf_packages (id) ON DELETE CASCADE,
    path       TEXT NOT NULL,
    content    TEXT NOT NULL,
    PRIMARY KEY (vnf_pkg_id, path)
) STRICT;

CREATE TABLE vims (
    id          TEXT    NOT NULL PRIMARY KEY,
    project_id  TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    vim_type    TEXT    NOT NULL,
    endpoint    TEXT    NOT NULL,
    access_info TEXT    NOT NULL CHECK (json_valid(access_info)),
    -- Sealed (src/store/seal.rs); NULL if there are none.
    secrets     BLOB,
    vim_project TEXT    NOT NULL,
    extra       TEXT    NOT NULL CHECK (json_valid(extra)),
    is_default  INTEGER NOT NULL CHECK (is_default IN (0, 1)),
    user_name   TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER
) STRICT;
CREATE INDEX vims_list ON vims (project_id, created_at, id);
CREATE UNIQUE INDEX vims_name ON vims (project_id, name);
CREATE UNIQUE INDEX vims_default ON vims (project_id) WHERE is_default;

CREATE TABLE vnf_instances (
    id                          TEXT    NOT NULL PRIMARY KEY,
    project_id                  TEXT    NOT NULL,
    vnf_instance_name           TEXT,
    vnf_instance_description    TEXT,
    vnfd_id                     TEXT    NOT NULL,
    vnf_pkg_id                  TEXT    NOT NULL REFERENCES vnf_packages (id),
    vnf_provider                TEXT    NOT NULL,
    vnf_product_name            TEXT    NOT NULL,
    vnf_software_version        TEXT    NOT NULL,
    vnfd_version                TEXT    NOT NULL,
    -- {"namespace": "...", ...the caller's keys}: the only place where the namespace is stored.
    vnf_metadata                TEXT    NOT NULL CHECK (json_valid(vnf_metadata)),
    extensions                  TEXT    NOT NULL CHECK (json_valid(extensions)),
    vnf_configurable_properties TEXT    NOT NULL CHECK (json_valid(vnf_configurable_properties)),
    vim_connections             TEXT    NOT NULL CHECK (json_valid(vim_connections)),
    -- The secrets of vim_connections, sealed; NULL if there are none.
    vim_secrets                 BLOB,
    -- NULL: NOT_INSTANTIATED.
    instantiated_vnf_info       TEXT             CHECK (json_valid(instantiated_vnf_info)),
    version                     INTEGER NOT NULL,
    created_at                  INTEGER NOT NULL
) STRICT;
CREATE INDEX vnf_instances_list ON vnf_instances (project_id, created_at, id);
CREATE INDEX vnf_instances_package ON vnf_instances (vnf_pkg_id);

-- The inventory: the objects of a VNF instance in its cluster, each bare-named in the instance's namespace.
CREATE TABLE vnf_resources (
    vnf_instance_id TEXT    NOT NULL REFERENCES vnf_instances (id),
    -- Orders the objects as they were planned.
    position        INTEGER NOT NULL,
    api_version     TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    resource_name   TEXT    NOT NULL,
    plural          TEXT    NOT NULL,
    namespaced      INTEGER NOT NULL CHECK (namespaced IN (0, 1)),
    state           TEXT    NOT NULL CHECK (state IN ('PLANNED', 'INTENT', 'PRESENT')),
    uid             TEXT,
    owned           INTEGER          CHECK (owned IN (0, 1)),
    vdu_id          TEXT,
    manifest        TEXT    NOT NULL CHECK (json_valid(manifest)),
    PRIMARY KEY (vnf_instance_id, api_version, kind, resource_name),
    CHECK ((state = 'PRESENT') = (uid IS NOT NULL)),
    CHECK ((state = 'PRESENT') = (owned IS NOT NULL))
) STRICT;

-- The operations, which are the conductors' queue. They outlive their VNF instance, hence no foreign key.
CREATE TABLE vnf_lcm_op_occs (
    id                      TEXT    NOT NULL PRIMARY KEY,
    project_id              TEXT    NOT NULL,
    vnf_instance_id         TEXT    NOT NULL,
    operation               TEXT    NOT NULL,
    state                   TEXT    NOT NULL CHECK (state IN ('STARTING', 'PROCESSING', 'COMPLETED', 'FAILED_TEMP', 'FAILED', 'ROLLING_BACK', 'ROLLED_BACK')),
    state_entered_time      INTEGER NOT NULL,
    start_time              INTEGER NOT NULL,
    is_automatic_invocation INTEGER NOT NULL CHECK (is_automatic_invocation IN (0, 1)),
    params                  TEXT    NOT NULL CHECK (json_valid(params)),
    cancel_mode             TEXT             CHECK (cancel_mode IN ('GRACEFUL', 'FORCEFUL')),
    error                   TEXT             CHECK (json_valid(error)),
    resource_changes        TEXT             CHECK (json_valid(resource_changes)),
    changed_info            TEXT             CHECK (json_valid(changed_info)),
    plan                    TEXT             CHECK (json_valid(plan)),
    -- Steps done in the current direction.
    steps_done              INTEGER NOT NULL DEFAULT 0,
    -- How often the current step was put off.
    attempt                 INTEGER NOT NULL DEFAULT 0,
    -- By the database's clock, as lease_until.
    not_before              INTEGER NOT NULL,
    -- Who holds the operation, for people; the fence is lease_epoch, which counts the claims.
    lease_owner             TEXT,
    lease_epoch             INTEGER NOT NULL DEFAULT 0,
    -- 0: nobody holds it.
    lease_until             INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX vnf_lcm_op_occs_list ON vnf_lcm_op_occs (project_id, start_time, id);
-- One live operation per VNF instance.
CREATE UNIQUE INDEX vnf_lcm_op_occs_live ON vnf_lcm_op_occs (vnf_instance_id)
    WHERE state IN ('STARTING', 'PROCESSING', 'FAILED_TEMP', 'ROLLING_BACK');
-- Serves the claim.
CREATE INDEX vnf_lcm_op_occs_due ON vnf_lcm_op_occs (not_before, id)
    WHERE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK');
