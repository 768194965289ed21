//! The one operation of a VNF instance that is not over, if there is one. Used by op occurrences and instances.

use sqlx::Row as _;

use super::{Tx, read};
use crate::domain::ids::{VnfInstanceId, VnfLcmOpOccId};
use crate::store::StoreError;

/// The condition of the partial index `vnf_lcm_op_occs_live`. A query must use the same text to use the index.
macro_rules! live_states {
    () => {
        "('STARTING', 'PROCESSING', 'FAILED_TEMP', 'ROLLING_BACK')"
    };
}
pub(super) use live_states;

/// The operation of the VNF instance that is not over.
pub(super) async fn live(tx: &mut Tx, instance: VnfInstanceId) -> Result<Option<VnfLcmOpOccId>, StoreError> {
    let row =
        sqlx::query(concat!("SELECT id FROM vnf_lcm_op_occs WHERE vnf_instance_id = $1 AND state IN ", live_states!()))
            .bind(instance.to_string())
            .fetch_optional(&mut **tx)
            .await?;
    row.map(|row| read("vnf_lcm_op_occs", &row, |row| Ok(row.try_get::<&str, _>("id")?.parse()?))).transpose()
}
