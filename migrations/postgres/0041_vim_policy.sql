-- What VNFs may use in a VIM. VIMs from before this column, and those that a process of the release before registers, stay open.
ALTER TABLE vims ADD COLUMN policy jsonb NOT NULL
    DEFAULT '{"allowed_namespaces": ["*", "kube-*"], "refused_kinds": [], "allowed_cluster_kinds": ["*"]}';
