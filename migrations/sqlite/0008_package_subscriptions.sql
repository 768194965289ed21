-- Subscriptions to changes of packages, in the outbox that there is (0004).
--
-- A subscription to packages is told of no VNF instance: its only_vnf_instance_id is '-', by which the index serves the triggers
-- below, and keeps the triggers of VNF instances from looking at it.

ALTER TABLE subscriptions ADD COLUMN interface TEXT NOT NULL DEFAULT 'vnflcm'
    CHECK (interface IN ('vnflcm', 'vnfpkgm') AND (interface = 'vnfpkgm') = (only_vnf_instance_id = '-'));

-- The package as it was when it changed: id, vnfd_id, vnfm_info, and operational_state if that changed. NULL in notifications
-- of VNF instances; in those of packages vnf_instance_id is empty, so that one subscription is told of them all in order.
ALTER TABLE notifications ADD COLUMN vnf_package TEXT
    CHECK (json_valid(vnf_package) AND (vnf_package IS NOT NULL) = (vnf_instance_id = ''));

-- What a change is told as; holds nothing. A row inserted goes to the outbox once for each subscription that it matches.
-- `told_state` is the state if that is what changed.
CREATE VIEW package_changes AS
    SELECT NULL AS notification_type, NULL AS vnf_pkg_id, NULL AS project_id, NULL AS vnfd_id, NULL AS vnfd,
           NULL AS operational_state, NULL AS told_state, NULL AS head_start
    WHERE 0;

CREATE TRIGGER package_changes_told INSTEAD OF INSERT ON package_changes
BEGIN
    INSERT INTO notifications
        (id, subscription_id, notification_type, time_stamp, vnf_instance_id, vnf_package, not_before)
    SELECT change.id, s.id, NEW.notification_type, change.present, '',
           json_object('id', NEW.vnf_pkg_id, 'vnfd_id', NEW.vnfd_id, 'vnfm_info', NEW.vnfd -> '$.vnfm_info',
                       'operational_state', NEW.told_state),
           change.present + NEW.head_start
    FROM (SELECT lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8'
                     || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))) AS id,
                 CAST(round(unixepoch('subsec') * 1000) AS INTEGER) AS present LIMIT 1) AS change
    CROSS JOIN subscriptions AS s
    WHERE s.project_id = NEW.project_id AND s.only_vnf_instance_id = '-'
      AND (s.filter ->> 'notificationTypes' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.notificationTypes') WHERE value = NEW.notification_type))
      AND (s.filter ->> 'vnfPkgId' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.vnfPkgId') WHERE value = NEW.vnf_pkg_id))
      AND (s.filter ->> 'vnfdId' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.vnfdId') WHERE value = NEW.vnfd_id))
      AND (s.filter ->> 'operationalState' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.operationalState') WHERE value = NEW.operational_state))
      AND (s.filter ->> 'usageState' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.usageState')
                      WHERE value = CASE WHEN EXISTS (SELECT 1 FROM vnf_instances WHERE vnf_pkg_id = NEW.vnf_pkg_id)
                                           OR EXISTS (SELECT 1 FROM vnf_lcm_op_occs WHERE target_pkg_id = NEW.vnf_pkg_id)
                                         THEN 'IN_USE' ELSE 'NOT_IN_USE' END))
      AND (s.filter ->> 'vnfmInfo' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.vnfmInfo') AS wanted
                      JOIN json_each(NEW.vnfd, '$.vnfm_info') AS vnfm ON vnfm.value = wanted.value))
      AND (s.filter ->> 'vnfProductsFromProviders' IS NULL
           OR EXISTS (SELECT 1 FROM json_each(s.filter, '$.vnfProductsFromProviders') AS provider
                      WHERE provider.value ->> 'vnfProvider' = NEW.vnfd ->> 'provider'
                        AND (provider.value ->> 'vnfProducts' IS NULL
                             OR EXISTS (SELECT 1 FROM json_each(provider.value, '$.vnfProducts') AS product
                                        WHERE product.value ->> 'vnfProductName' = NEW.vnfd ->> 'product_name'
                                          AND (product.value ->> 'versions' IS NULL
                                               OR EXISTS (SELECT 1 FROM json_each(product.value, '$.versions') AS variant
                                                          WHERE variant.value ->> 'vnfSoftwareVersion'
                                                                = NEW.vnfd ->> 'software_version'
                                                            AND (variant.value ->> 'vnfdVersions' IS NULL
                                                                 OR EXISTS (SELECT 1 FROM json_each(variant.value, '$.vnfdVersions')
                                                                            WHERE value = NEW.vnfd ->> 'version'))))))));
END;

-- What answers a request gets a head start (milliseconds): the answer is to be there before the notification.

CREATE TRIGGER vnf_packages_onboarded AFTER UPDATE OF onboarding_state ON vnf_packages
    WHEN NEW.onboarding_state = 'ONBOARDED' AND OLD.onboarding_state <> 'ONBOARDED'
BEGIN
    INSERT INTO package_changes
    VALUES ('VnfPackageOnboardingNotification', NEW.id, NEW.project_id, NEW.vnfd_id, NEW.vnfd, NEW.operational_state, NULL, 0);
END;

CREATE TRIGGER vnf_packages_entered AFTER UPDATE OF operational_state ON vnf_packages
    WHEN OLD.onboarding_state = 'ONBOARDED' AND NEW.operational_state <> OLD.operational_state
BEGIN
    INSERT INTO package_changes
    VALUES ('VnfPackageChangeNotification', NEW.id, NEW.project_id, NEW.vnfd_id, NEW.vnfd, NEW.operational_state,
            NEW.operational_state, 100);
END;

CREATE TRIGGER vnf_packages_deleted AFTER DELETE ON vnf_packages WHEN OLD.onboarding_state = 'ONBOARDED'
BEGIN
    INSERT INTO package_changes
    VALUES ('VnfPackageChangeNotification', OLD.id, OLD.project_id, OLD.vnfd_id, OLD.vnfd, OLD.operational_state, NULL, 100);
END;
