-- Subscriptions to changes of packages, in the outbox that there is (0004).
--
-- A subscription to packages is told of no VNF instance: its only_vnf_instance_id is '-', by which the index serves the trigger
-- below, and keeps the triggers of VNF instances from looking at it.

ALTER TABLE subscriptions
    ADD COLUMN interface text NOT NULL DEFAULT 'vnflcm' CHECK (interface IN ('vnflcm', 'vnfpkgm')),
    ADD CHECK ((interface = 'vnfpkgm') = (only_vnf_instance_id = '-'));

-- The package as it was when it changed: id, vnfd_id, vnfm_info, and operational_state if that changed. NULL in notifications
-- of VNF instances; in those of packages vnf_instance_id is empty, so that one subscription is told of them all in order.
ALTER TABLE notifications
    ADD COLUMN vnf_package jsonb,
    ADD CHECK ((vnf_package IS NOT NULL) = (vnf_instance_id = ''));

-- Whether one of `providers`, a list of vnfProductsFromProviders, is that of the VNFD.
CREATE FUNCTION is_of_products(providers jsonb, vnfd jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM jsonb_array_elements(providers) AS provider
        WHERE provider ->> 'vnfProvider' = vnfd ->> 'provider'
          AND (provider -> 'vnfProducts' IS NULL
               OR EXISTS (SELECT 1 FROM jsonb_array_elements(provider -> 'vnfProducts') AS product
                          WHERE product ->> 'vnfProductName' = vnfd ->> 'product_name'
                            AND (product -> 'versions' IS NULL
                                 OR EXISTS (SELECT 1 FROM jsonb_array_elements(product -> 'versions') AS variant
                                            WHERE variant ->> 'vnfSoftwareVersion' = vnfd ->> 'software_version'
                                              AND (variant -> 'vnfdVersions' IS NULL
                                                   OR variant -> 'vnfdVersions' ? (vnfd ->> 'version')))))))
$$;

-- Puts what happened to a package into the outbox, once for each subscription that it matches. The arguments: the
-- notificationType, the head start of the answer to the request (milliseconds), and whether the state is what changed.
CREATE FUNCTION tell_package_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    package vnf_packages;
    change text := gen_random_uuid();
    present bigint := CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint);
BEGIN
    IF TG_OP = 'DELETE' THEN package := OLD; ELSE package := NEW; END IF;
    IF EXISTS (SELECT 1 FROM subscriptions WHERE project_id = package.project_id AND only_vnf_instance_id = '-') THEN
        INSERT INTO notifications
            (id, subscription_id, notification_type, time_stamp, vnf_instance_id, vnf_package, not_before)
        SELECT change, s.id, TG_ARGV[0], present, '',
               jsonb_build_object('id', package.id, 'vnfd_id', package.vnfd_id, 'vnfm_info', package.vnfd -> 'vnfm_info',
                                  'operational_state', CASE WHEN TG_ARGV[2]::boolean THEN package.operational_state END),
               present + TG_ARGV[1]::bigint
        FROM subscriptions AS s
        WHERE s.project_id = package.project_id AND s.only_vnf_instance_id = '-'
          AND (s.filter -> 'notificationTypes' IS NULL OR s.filter -> 'notificationTypes' ? TG_ARGV[0])
          AND (s.filter -> 'vnfPkgId' IS NULL OR s.filter -> 'vnfPkgId' ? package.id)
          AND (s.filter -> 'vnfdId' IS NULL OR s.filter -> 'vnfdId' ? package.vnfd_id)
          AND (s.filter -> 'operationalState' IS NULL OR s.filter -> 'operationalState' ? package.operational_state)
          AND (s.filter -> 'usageState' IS NULL
               OR s.filter -> 'usageState' ? CASE WHEN EXISTS (SELECT 1 FROM vnf_instances WHERE vnf_pkg_id = package.id)
                                                    OR EXISTS (SELECT 1 FROM vnf_lcm_op_occs WHERE target_pkg_id = package.id)
                                                  THEN 'IN_USE' ELSE 'NOT_IN_USE' END)
          AND (s.filter -> 'vnfmInfo' IS NULL
               OR EXISTS (SELECT 1 FROM jsonb_array_elements_text(package.vnfd -> 'vnfm_info') AS vnfm
                          WHERE s.filter -> 'vnfmInfo' ? vnfm))
          AND (s.filter -> 'vnfProductsFromProviders' IS NULL
               OR is_of_products(s.filter -> 'vnfProductsFromProviders', package.vnfd))
        FOR KEY SHARE OF s;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER vnf_packages_onboarded AFTER UPDATE OF onboarding_state ON vnf_packages
    FOR EACH ROW WHEN (NEW.onboarding_state = 'ONBOARDED' AND OLD.onboarding_state <> 'ONBOARDED')
    EXECUTE FUNCTION tell_package_change('VnfPackageOnboardingNotification', '0', 'false');
CREATE TRIGGER vnf_packages_entered AFTER UPDATE OF operational_state ON vnf_packages
    FOR EACH ROW WHEN (OLD.onboarding_state = 'ONBOARDED' AND NEW.operational_state <> OLD.operational_state)
    EXECUTE FUNCTION tell_package_change('VnfPackageChangeNotification', '100', 'true');
CREATE TRIGGER vnf_packages_deleted AFTER DELETE ON vnf_packages
    FOR EACH ROW WHEN (OLD.onboarding_state = 'ONBOARDED')
    EXECUTE FUNCTION tell_package_change('VnfPackageChangeNotification', '100', 'false');
