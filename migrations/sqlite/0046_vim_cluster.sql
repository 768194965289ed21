-- The uid of the Namespace kube-system of the cluster; NULL: the credential may not read it, or the VIM is from before.
ALTER TABLE vims ADD COLUMN cluster_uid text;
