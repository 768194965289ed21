//! A macro that runs the same test cases on SQLite and on PostgreSQL.

/// Makes two tests of each case. The case gets the value of the first future on SQLite and of the second on PostgreSQL.
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
