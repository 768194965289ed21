-- The projects that may use the VIM or the package of another. The project '' stands for all: no project has an empty name.
CREATE TABLE vim_shares (
    vim_id TEXT NOT NULL REFERENCES vims (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    namespaces TEXT NOT NULL CHECK (json_valid(namespaces)),
    PRIMARY KEY (vim_id, project_id)
);
CREATE INDEX vim_shares_project ON vim_shares (project_id);
CREATE TABLE vnf_package_shares (
    vnf_pkg_id TEXT NOT NULL REFERENCES vnf_packages (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    PRIMARY KEY (vnf_pkg_id, project_id)
);
CREATE INDEX vnf_package_shares_project ON vnf_package_shares (project_id);
