//! Servers at the address of a VIM that are no API servers: silent ones, and such that never end their answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::{self, StreamExt as _};
use gybe::domain::secret::Secret;
use gybe::domain::vim::{VimAccess, VimCredential};
use gybe::infra::kubernetes::KubernetesDriver;
use gybe::infra::{Driver as _, InfraErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::cluster::scope;
use crate::support::op_occ_fixture::resource;

/// A server that answers each request with the head of an answer and then, `count` times, with `piece`; without a piece it is
/// silent. Returns its access and the number of connections.
async fn server(piece: Option<&'static [u8]>, count: usize) -> (VimAccess, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = connection.read(&mut request).await;
                let Some(piece) = piece else { return std::future::pending().await };
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
                let mut sent = connection.write_all(head).await;
                for _ in 0..count {
                    if sent.is_err() {
                        return;
                    }
                    sent = connection.write_all(piece).await;
                }
            });
        }
    });
    let credential = VimCredential::BearerToken(Secret::new("t0ken"));
    (VimAccess { endpoint, ca: None, insecure: true, credential, impersonate: None }, connections)
}

#[tokio::test]
async fn the_first_request_without_an_answer_ends_the_others() {
    const CONCURRENT: usize = 16;
    let (access, connections) = server(None, 0).await;
    let (driver, scope) = (KubernetesDriver::new(), scope(&access, &"edge".to_owned().try_into().unwrap()));
    let objects: Vec<_> = (0..200).map(|number| resource(&format!("o{number}"))).collect();
    let answers = stream::iter(&objects).map(|object| driver.ensure(&scope, object)).buffer_unordered(CONCURRENT);
    let errors: Vec<_> = answers.map(Result::unwrap_err).collect().await;
    assert!(errors.iter().all(|error| error.kind == InfraErrorKind::Transient), "{:?}", errors[0]);
    let connections = connections.load(Ordering::Relaxed);
    assert!(connections <= CONCURRENT, "{connections} connections for {} objects", objects.len());
}

#[tokio::test]
async fn answers_end_at_their_limit() {
    let (access, _) = server(Some(&[b' '; 1 << 16]), usize::MAX).await;
    let driver = KubernetesDriver::new();
    let kinds = BTreeSet::from([("apps/v1".to_owned(), "Deployment".to_owned())]);
    let error = driver.discover(&access, &kinds).await.unwrap_err();
    assert!(error.detail.contains("answers with more than 4 MiB"), "{error}");
    let error = driver.who_am_i(&access).await.unwrap_err();
    assert!(error.detail.contains("answers with more than 8 MiB"), "{error}");
}

#[tokio::test]
async fn a_user_has_a_name_of_reasonable_length() {
    let review = format!(
        r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview","status":{{"userInfo":{{"username":"{}"}}}}}}"#,
        "x".repeat(2000)
    );
    let (access, _) = server(Some(review.leak().as_bytes()), 1).await;
    let error = KubernetesDriver::new().who_am_i(&access).await.unwrap_err();
    assert_eq!(error.kind, InfraErrorKind::Invalid);
    assert!(error.detail.contains("1024 bytes") && error.detail.len() < 200, "{error}");
}
