//! User name and password of HTTP Basic (RFC 7617), checked against Argon2 hashes of the configuration.
//!
//! A check of a hash is slow on purpose, so only a few run at the same time, a right password is remembered by its digest for a
//! minute, and after some wrong ones from an address the next check for that user from there has to wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::digest::SHA256_OUTPUT_LEN;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use quick_cache::sync::Cache;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::auth;
use crate::auth::{AuthConfigError, AuthError, Credentials};
use crate::domain::caller::{AuthMethod, Caller, Role};

/// Checks at the same time. Each takes some 20 MiB and a core for some 20 ms.
const CHECKS: usize = 2;
/// A right password is not checked again for this time.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Wrong passwords before the next attempt has to wait.
const FREE_ATTEMPTS: u32 = 5;
/// The longest that an attempt has to wait. After so long without a wrong password, all is forgotten.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Users and addresses whose attempts are counted; the counts of others are forgotten first.
const COUNTED: usize = 10_000;
/// Wrong passwords of all users from an address before the next attempt from there has to wait.
const FREE_ATTEMPTS_OF_ADDRESS: u32 = 50;
/// The longest that a check waits for others.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest password that is checked, in bytes.
const LONGEST_PASSWORD: usize = 1024;

/// The table `[auth.basic]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicOptions {
    /// The tables `[[auth.basic.user]]`.
    #[serde(default)]
    pub user: Vec<UserOptions>,
}

/// A user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserOptions {
    pub name: String,
    /// As `gybe hash-password` prints it.
    pub password_hash: String,
    #[serde(default = "auth::default_project")]
    pub project: String,
    pub role: String,
}

struct User {
    hash: PasswordHash,
    caller: Caller,
}

/// Attempts are counted by the sender's network, and by that and the beginning of the user's name.
type Attempt = (Option<String>, Option<IpAddr>);

/// How many wrong passwords are free.
const fn free(attempt: &Attempt) -> u32 {
    if attempt.0.is_some() { FREE_ATTEMPTS } else { FREE_ATTEMPTS_OF_ADDRESS }
}

/// The address, or of IPv6 the network that one host may have.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// The attempts of a user from an address.
#[derive(Clone, Copy)]
struct Attempts {
    wrong: u32,
    /// The end of the last attempt.
    last: Instant,
}

impl Attempts {
    /// How long the next attempt still has to wait.
    fn remaining(self, free: u32) -> Duration {
        let wait = match self.wrong.checked_sub(free) {
            Some(beyond) => Duration::from_secs(1 << beyond.min(6)).min(LONGEST_WAIT),
            None => Duration::ZERO,
        };
        wait.saturating_sub(self.last.elapsed())
    }
}

/// As errors name the check.
const CHECK: &str = "the check of passwords";

fn wrong() -> AuthError {
    AuthError::Invalid("the user name or the password is wrong".to_owned())
}

/// The method.
pub struct Basic {
    users: HashMap<String, Arc<User>>,
    /// Takes as long to check as a real one, so that the time does not tell which users exist.
    nobody: Arc<User>,
    checks: Arc<Semaphore>,
    /// Of this process alone: digests with it are useless elsewhere.
    key: hmac::Key,
    /// Digests of right pairs of name and password, with the time of the check.
    right: Cache<[u8; SHA256_OUTPUT_LEN], Instant>,
    attempts: Mutex<Cache<Attempt, Attempts>>,
}

async fn check(user: &Arc<User>, password: String, permit: Option<OwnedSemaphorePermit>) -> Result<bool, AuthError> {
    let user = Arc::clone(user);
    let check = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        Argon2::default().verify_password(password.as_bytes(), &user.hash).is_ok()
    });
    check.await.map_err(|_| AuthError::Unavailable(CHECK))
}

/// The hash of a password, for the configuration.
///
/// # Errors
/// There is no randomness for the salt.
pub fn hash_password(password: &str) -> Result<String, AuthConfigError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| AuthConfigError(format!("cannot hash the password: {error}")))
}

impl Basic {
    /// The users of the configuration.
    ///
    /// # Errors
    /// [`AuthConfigError`], naming the user.
    pub fn new(options: &BasicOptions) -> Result<Self, AuthConfigError> {
        let mut users = HashMap::new();
        for user in &options.user {
            let wrong = |reason: String| AuthConfigError(format!("auth.basic.user '{}': {reason}", user.name));
            if user.name.contains(':') {
                return Err(wrong("name must not contain a colon".to_owned()));
            }
            let hash = PasswordHash::new(&user.password_hash).ok();
            let hash = hash
                .filter(|_| user.password_hash.starts_with("$argon2id$"))
                .ok_or_else(|| wrong("password_hash must be a hash that `gybe hash-password` printed".to_owned()))?;
            let role: Role = user.role.parse().map_err(|error| wrong(format!("{error}")))?;
            let caller = Caller::new(user.name.clone(), user.project.clone(), Some(role), AuthMethod::Basic)
                .map_err(|error| wrong(error.to_string()))?;
            if users.insert(user.name.clone(), Arc::new(User { hash, caller })).is_some() {
                return Err(wrong("another table has the same name".to_owned()));
            }
        }
        if users.is_empty() {
            return Err(AuthConfigError("[auth.basic] has no [[auth.basic.user]]".to_owned()));
        }
        let random = |_| AuthConfigError("there is no randomness".to_owned());
        let nobody = hash_password("")?;
        let hash = PasswordHash::new(&nobody).map_err(|error| AuthConfigError(error.to_string()))?;
        Ok(Self {
            users,
            nobody: Arc::new(User { hash, caller: Caller { role: None, ..Caller::local() } }),
            checks: Arc::new(Semaphore::new(CHECKS)),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(random)?,
            right: Cache::new(COUNTED),
            attempts: Mutex::new(Cache::new(COUNTED)),
        })
    }

    /// The caller who sent the right password; `None` if the request has no credentials of HTTP Basic.
    ///
    /// # Errors
    /// [`AuthError::Invalid`], [`AuthError::Throttled`].
    pub async fn caller(&self, credentials: &Credentials<'_>) -> Result<Option<Caller>, AuthError> {
        match credentials.basic()? {
            Some((name, password)) => self.check(name, password, credentials.peer).await.map(Some),
            None => Ok(None),
        }
    }

    /// The user, who sent the password from `peer`.
    ///
    /// # Errors
    /// [`AuthError::Invalid`], [`AuthError::Throttled`].
    pub async fn check(&self, name: String, password: String, peer: Option<IpAddr>) -> Result<Caller, AuthError> {
        let digest = self.digest(&name, &password);
        if let Some(caller) = self.remembered(&name, &digest) {
            return Ok(caller);
        }
        let peer = peer.map(network);
        let attempts = [(Some(name.chars().take(64).collect()), peer), (None, peer)];
        self.refuse_throttled(&attempts)?;
        if password.len() > LONGEST_PASSWORD {
            return Err(wrong());
        }
        // The semaphore is never closed. Whoever waited for the same check as another finds its result.
        let permit = timeout(PATIENCE, Arc::clone(&self.checks).acquire_owned()).await;
        let permit = permit.map_err(|_| AuthError::Unavailable(CHECK))?.ok();
        if let Some(caller) = self.remembered(&name, &digest) {
            return Ok(caller);
        }
        self.begin(&attempts)?;
        let user = self.users.get(&name);
        let is_right = check(user.unwrap_or(&self.nobody), password, permit).await?;
        match user.filter(|_| is_right) {
            Some(user) => {
                self.right.insert(digest, Instant::now());
                self.forgive(&attempts);
                Ok(user.caller.clone())
            }
            None => {
                self.end(&attempts);
                Err(wrong())
            }
        }
    }

    /// The user with that name.
    pub fn user(&self, name: &str) -> Option<Caller> {
        self.users.get(name).map(|user| user.caller.clone())
    }

    fn remembered(&self, name: &str, digest: &[u8; SHA256_OUTPUT_LEN]) -> Option<Caller> {
        self.right.get(digest).filter(|checked| checked.elapsed() < REMEMBERED)?;
        self.user(name)
    }

    fn refuse_throttled(&self, attempts: &[Attempt]) -> Result<(), AuthError> {
        let waits = self.with_attempts(|counts| {
            let wait = |attempt| Some(counts.get(attempt)?.remaining(free(attempt)));
            attempts.iter().filter_map(wait).max()
        });
        match waits.filter(|wait| !wait.is_zero()) {
            Some(retry_after) => Err(AuthError::Throttled { retry_after }),
            None => Ok(()),
        }
    }

    /// Counts an attempt as wrong until it turns out to be right, so that many at once don't get around the limit.
    fn begin(&self, attempts: &[Attempt]) -> Result<(), AuthError> {
        self.refuse_throttled(attempts)?;
        self.with_attempts(|counts| {
            for attempt in attempts {
                let before = counts.get(attempt).filter(|before| before.last.elapsed() < LONGEST_WAIT);
                let wrong = before.map_or(0, |before| before.wrong) + 1;
                counts.insert(attempt.clone(), Attempts { wrong, last: Instant::now() });
            }
        });
        Ok(())
    }

    /// The wait begins when the check has ended: a check may take as long as the first wait.
    fn end(&self, attempts: &[Attempt]) {
        self.with_attempts(|counts| {
            for attempt in attempts {
                if let Some(before) = counts.get(attempt) {
                    counts.insert(attempt.clone(), Attempts { last: Instant::now(), ..before });
                }
            }
        });
    }

    /// After a right password, the user has no wrong ones, and the address one less.
    fn forgive(&self, attempts: &[Attempt]) {
        self.with_attempts(|counts| {
            for attempt in attempts {
                match counts.get(attempt).filter(|_| attempt.0.is_none()) {
                    Some(before) => {
                        let wrong = before.wrong.saturating_sub(1);
                        counts.insert(attempt.clone(), Attempts { wrong, ..before });
                    }
                    None => drop(counts.remove(attempt)),
                }
            }
        });
    }

    fn with_attempts<R>(&self, change: impl FnOnce(&Cache<Attempt, Attempts>) -> R) -> R {
        change(&self.attempts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn digest(&self, name: &str, password: &str) -> [u8; SHA256_OUTPUT_LEN] {
        let tag = hmac::sign(&self.key, format!("{name}:{password}").as_bytes());
        let mut digest = [0; SHA256_OUTPUT_LEN];
        digest.copy_from_slice(tag.as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::with_headers;

    fn basic() -> Basic {
        let hash = hash_password("s3cret").unwrap();
        let text = format!("[[user]]\nname = 'ibm'\npassword_hash = '{hash}'\nproject = 'edge'\nrole = 'member'");
        Basic::new(&toml::from_str(&text).unwrap()).unwrap()
    }

    async fn caller(basic: &Basic, pair: &str, peer: &str) -> Result<Option<Caller>, AuthError> {
        use base64::Engine as _;
        let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let headers = [("Authorization", value.as_str())];
        let runtime = tokio::runtime::Handle::current();
        with_headers(&headers, Some(peer), |it| tokio::task::block_in_place(|| runtime.block_on(basic.caller(it))))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn knows_right_passwords_only() {
        let basic = basic();
        for _ in 0..2 {
            let caller = caller(&basic, "ibm:s3cret", "10.0.0.1").await.unwrap().unwrap();
            assert_eq!((caller.project.0.as_str(), caller.role), ("edge", Some(Role::Member)));
        }
        for pair in ["ibm:s3cret2", "ibm:", "other:s3cret", ":"] {
            assert!(matches!(caller(&basic, pair, "10.0.0.1").await, Err(AuthError::Invalid(_))), "{pair}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn wrong_passwords_slow_down_their_sender_alone() {
        let basic = basic();
        for _ in 0..FREE_ATTEMPTS {
            assert!(matches!(caller(&basic, "ibm:x", "10.0.0.1").await, Err(AuthError::Invalid(_))));
        }
        let throttled = caller(&basic, "ibm:s3cret", "10.0.0.1").await;
        assert!(matches!(throttled, Err(AuthError::Throttled { .. })), "{throttled:?}");
        assert!(caller(&basic, "ibm:s3cret", "10.0.0.2").await.is_ok());
        assert!(
            caller(&basic, "ibm:s3cret", "10.0.0.1").await.is_ok(),
            "a right pair that is known is not checked again"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_address_does_not_get_more_attempts_by_other_names_or_a_neighbour() {
        let basic = basic();
        for count in 0..FREE_ATTEMPTS_OF_ADDRESS {
            let peer = format!("2001:db8::{count:x}");
            assert!(
                matches!(caller(&basic, &format!("u{count}:x"), &peer).await, Err(AuthError::Invalid(_))),
                "{count}"
            );
        }
        assert!(matches!(caller(&basic, "u:x", "2001:db8::ffff").await, Err(AuthError::Throttled { .. })));
        assert!(caller(&basic, "ibm:s3cret", "2001:db8:0:1::1").await.is_ok());
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn refuses_tables_that_are_not_valid() {
        let hash = hash_password("x").unwrap();
        for wrong in [
            "".to_owned(),
            "[[user]]\nname = 'a'\npassword_hash = 'x'\nrole = 'member'".to_owned(),
            format!("[[user]]\nname = 'a:b'\npassword_hash = '{hash}'\nrole = 'member'"),
            format!("[[user]]\nname = 'a'\npassword_hash = '{hash}'\nrole = 'boss'"),
            format!("[[user]]\nname = 'a'\npassword_hash = '{hash}'\nrole = 'member'\n").repeat(2),
        ] {
            let error = Basic::new(&toml::from_str(&wrong).unwrap()).err().unwrap().to_string();
            assert!(!error.contains(&hash), "{error}");
        }
    }
}
