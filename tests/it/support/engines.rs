//! The same cases on both engines.

/// Makes a test of each case on SQLite, which takes what the first future brings, and one on PostgreSQL with the second's.
macro_rules! on_both_engines {
    ($sqlite:expr, $postgres:expr; $($case:ident)*) => {
        mod on_sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($sqlite.await).await;
            })*
        }
        mod on_postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($postgres.await).await;
            })*
        }
    };
}
