//! A certificate authority in a folder of its own: issues certificates for servers and clients, and revokes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const CONFIGURATION: &str = "
[ca]
default_ca = own
[own]
dir = .
database = index.txt
new_certs_dir = .
serial = serial
crlnumber = crlnumber
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 2
default_crl_days = 2
policy = any
copy_extensions = copy
unique_subject = no
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
[req]
distinguished_name = name
[name]
";

/// An authority. Its files are gone when it is dropped.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let authority = Self { folder: TempDir::new().unwrap() };
        let write = |file: &str, text: &str| std::fs::write(authority.path(file), text).unwrap();
        write("openssl.cnf", CONFIGURATION);
        write("index.txt", "");
        write("serial", "01\n");
        write("crlnumber", "01\n");
        let subject = format!("/CN={name}");
        let mut request = vec!["req", "-x509", "-config", "openssl.cnf", "-days", "2", "-subj", &subject];
        request.extend(["-addext", "basicConstraints=critical,CA:TRUE", "-out", "ca.pem", "-keyout", "ca.key"]);
        authority.openssl(&[&request[..], &KEY[..]].concat());
        authority
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The certificate of the authority.
    pub fn certificate(&self) -> String {
        self.read("ca.pem")
    }

    /// A certificate and its key, in PEM. `alternatives` are subject alternative names such as `DNS:so.example`.
    pub fn issue(&self, name: &str, alternatives: &str) -> String {
        self.issue_until(name, alternatives, "491231235959Z")
    }

    /// As [`Authority::issue`], with the end of its validity as `YYMMDDHHMMSSZ`.
    pub fn issue_until(&self, name: &str, alternatives: &str, end: &str) -> String {
        let [csr, key, certificate] = ["csr", "key", "pem"].map(|kind| format!("{name}.{kind}"));
        let (subject, alternatives) = (format!("/CN={name}"), format!("subjectAltName={alternatives}"));
        let mut request =
            vec!["req", "-new", "-config", "openssl.cnf", "-subj", &subject, "-out", &csr, "-keyout", &key];
        if alternatives != "subjectAltName=" {
            request.extend(["-addext", &alternatives]);
        }
        self.openssl(&[&request[..], &KEY[..]].concat());
        let sign = ["ca", "-batch", "-notext", "-config", "openssl.cnf", "-startdate", "200101000000Z"];
        self.openssl(&[&sign[..], &["-enddate", end, "-in", &csr, "-out", &certificate]].concat());
        self.read(&certificate) + &self.read(&key)
    }

    /// Revokes the certificate with that name.
    pub fn revoke(&self, name: &str) {
        self.openssl(&["ca", "-config", "openssl.cnf", "-revoke", &format!("{name}.pem")]);
    }

    /// The list of revoked certificates.
    pub fn revocations(&self) -> String {
        self.openssl(&["ca", "-config", "openssl.cnf", "-gencrl", "-out", "crl.pem"]);
        self.read("crl.pem")
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap()
    }

    fn openssl(&self, arguments: &[&str]) {
        let made = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
    }
}

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// Replaces the file at once, as whoever renews certificates does.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}
