//! TLS as NBD_OPT_STARTTLS begins it: who the server has to prove to be, and who we are.
//!
//! OpenSSL, because it has both of what servers ask for: certificates, and pre-shared keys from outside
//! in TLS 1.2 and 1.3. It is linked statically and its names are not exported, so that it and the OpenSSL
//! inside of Node never meet.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslOptions, SslStream,
    SslVerifyMode, SslVersion,
};
use openssl::x509::X509VerifyResult;
use openssl::x509::store::X509Lookup;
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};

use crate::nbd::failure::NbdFailure;
use crate::nbd::psk_file::{PskKey, read_psk_file};
use crate::nbd::tls_wire::{Pipes, TlsWire, fill_pipes};
use crate::nbd::wire::{Deadline, Wire, send_all};

/// How both sides prove who they are.
#[derive(Debug, Clone)]
pub enum TlsOptions {
    Certificates {
        /// Holds `ca-cert.pem`, and perhaps `ca-crl.pem`, `client-cert.pem` and `client-key.pem`. Without
        /// it, whom the system trusts is trusted.
        folder: Option<PathBuf>,
        /// A host's name or address, for which the server's certificate has to be made. Without it, any
        /// certificate will do, and whoever stands between could be the server.
        server: Option<String>,
    },
    /// A file of keys, and the user whose key it is; without one, the only key in the file.
    Psk { file: PathBuf, user: Option<String> },
}

/// Where systems keep the certificates of those that they trust.
const SYSTEM_TRUST: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// For TLS 1.2: a key of its own for each connection, and encryption that notices changes.
const CERTIFICATE_CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!PSK:!aNULL";
const PSK_CIPHERS: &str = "ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:\
                           DHE-PSK-AES128-GCM-SHA256:DHE-PSK-CHACHA20-POLY1305";

/// For TLS 1.3, where a key from outside goes with SHA-256.
const PSK_CIPHERS_1_3: &str = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";

/// What connections to one server have in common.
pub struct Tls {
    context: SslContext,
    options: TlsOptions,
}

impl Tls {
    /// Reads the files that are named. A file that is missing or makes no sense is an error here, and not
    /// one of the server's.
    pub fn new(options: TlsOptions) -> Result<Self, NbdFailure> {
        let mut builder = SslContext::builder(SslMethod::tls_client()).map_err(unusable)?;
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .map_err(unusable)?;
        builder.set_options(
            SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION | SslOptions::NO_TICKET,
        );
        builder.set_verify(SslVerifyMode::PEER);
        match &options {
            TlsOptions::Certificates { folder, server } => {
                builder
                    .set_cipher_list(CERTIFICATE_CIPHERS)
                    .map_err(unusable)?;
                if server.is_none() {
                    builder.set_verify(SslVerifyMode::NONE);
                }
                match folder {
                    Some(folder) => load_folder(&mut builder, folder)?,
                    None if server.is_some() => trust_the_system(&mut builder)?,
                    None => {}
                }
            }
            // The trust of certificates stays empty: a server that lacks the key proves nothing with one.
            TlsOptions::Psk { file, user } => {
                let key =
                    read_psk_file(file, user.as_deref()).map_err(|why| bad_file(file, &why))?;
                use_psk(&mut builder, key).map_err(unusable)?;
            }
        }
        Ok(Self {
            context: builder.build(),
            options,
        })
    }

    /// Talks TLS over a wire on which the server has just agreed to.
    pub fn shake_hands(
        &self,
        wire: Arc<dyn Wire>,
        deadline: Deadline,
    ) -> Result<TlsWire, NbdFailure> {
        let mut session = self.begin().map_err(unusable)?;
        loop {
            let outcome = session.connect();
            // Also where it failed: the server is told why.
            let said = session.get_mut().take_outgoing();
            if !said.is_empty() {
                send_all(&*wire, &said, &[], deadline.left()?)?;
            }
            match outcome {
                Ok(()) => return Ok(TlsWire::new(wire, session)),
                Err(error) if error.code() == ErrorCode::WANT_READ => {}
                Err(error) => return Err(self.refusal(&session, error.ssl_error())),
            }
            while !fill_pipes(&*wire, session.get_mut())
                .map_err(|failure| self.explain_end(failure))?
            {
                deadline.left()?;
            }
        }
    }

    /// A server tells by ending the connection what it thinks of a client that it does not know: in TLS 1.3
    /// only after the client believes that all is well.
    pub fn explain_end(&self, failure: NbdFailure) -> NbdFailure {
        if ![libc::ECONNRESET, libc::EPIPE].contains(&failure.errno) {
            return failure;
        }
        let wants = match &self.options {
            TlsOptions::Certificates { .. } => {
                "it may want a client certificate (client-cert.pem and client-key.pem in \
                 tls-certificates), not trust this one, or want a PSK"
            }
            TlsOptions::Psk { .. } => "it may not know this user and key, or want certificates",
        };
        let message = format!("{} in the TLS handshake: {wants}", failure.message);
        NbdFailure::new(libc::EKEYREJECTED, message)
    }

    fn begin(&self) -> Result<SslStream<Pipes>, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        if let TlsOptions::Certificates {
            server: Some(server),
            ..
        } = &self.options
        {
            let wanted = ssl.param_mut();
            wanted.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match server.parse::<IpAddr>() {
                Ok(address) => wanted.set_ip(address)?,
                Err(_) => {
                    wanted.set_host(server)?;
                    ssl.set_hostname(server)?;
                }
            }
        }
        SslStream::new(ssl, Pipes::default())
    }

    fn refusal(&self, session: &SslStream<Pipes>, stack: Option<&ErrorStack>) -> NbdFailure {
        let verified = session.ssl().verify_result();
        let message = match &self.options {
            TlsOptions::Certificates { server, .. } if verified != X509VerifyResult::OK => {
                let server = server.as_deref().unwrap_or("any host");
                let why = verified.error_string();
                format!("the server's certificate is not good for {server}: {why}")
            }
            TlsOptions::Psk { .. } if verified != X509VerifyResult::OK => {
                "the server shows a certificate and does not know the PSK".to_owned()
            }
            _ => format!("TLS failed: {}", words_of(stack)),
        };
        NbdFailure::new(libc::EKEYREJECTED, message)
    }
}

fn load_folder(builder: &mut SslContextBuilder, folder: &Path) -> Result<(), NbdFailure> {
    let trusted = folder.join("ca-cert.pem");
    builder
        .set_ca_file(readable(&trusted)?)
        .map_err(|stack| bad_file(&trusted, &words_of(Some(&stack))))?;
    let revoked = folder.join("ca-crl.pem");
    if is_there(&revoked)? {
        load_revoked(builder, readable(&revoked)?)
            .map_err(|stack| bad_file(&revoked, &words_of(Some(&stack))))?;
    }
    let (certificate, key) = (
        folder.join("client-cert.pem"),
        folder.join("client-key.pem"),
    );
    if is_there(&certificate)? || is_there(&key)? {
        builder
            .set_certificate_chain_file(readable(&certificate)?)
            .map_err(|stack| bad_file(&certificate, &words_of(Some(&stack))))?;
        builder
            .set_private_key_file(readable(&key)?, SslFiletype::PEM)
            .map_err(|stack| bad_file(&key, &words_of(Some(&stack))))?;
    }
    Ok(())
}

/// What has been revoked is refused, whatever its dates say.
fn load_revoked(builder: &mut SslContextBuilder, path: &Path) -> Result<(), ErrorStack> {
    let store = builder.cert_store_mut();
    store.set_flags(X509VerifyFlags::CRL_CHECK)?;
    store
        .add_lookup(X509Lookup::file())?
        .load_crl_file(path, SslFiletype::PEM)
        .map(|_| ())
}

fn trust_the_system(builder: &mut SslContextBuilder) -> Result<(), NbdFailure> {
    let bundle = SYSTEM_TRUST
        .iter()
        .map(Path::new)
        .find(|path| path.exists());
    let Some(bundle) = bundle else {
        let message = "this system has no list of certificates that it trusts: name yours, \
                       tls-certificates=FOLDER";
        return Err(NbdFailure::new(libc::ENOENT, message));
    };
    builder
        .set_ca_file(bundle)
        .map_err(|stack| bad_file(bundle, &words_of(Some(&stack))))
}

fn use_psk(builder: &mut SslContextBuilder, key: PskKey) -> Result<(), ErrorStack> {
    builder.set_cipher_list(PSK_CIPHERS)?;
    builder.set_ciphersuites(PSK_CIPHERS_1_3)?;
    builder.set_psk_client_callback(move |_, _, identity, secret| {
        let user = key.user.as_bytes();
        // No length is "no key", which fails the handshake.
        let (Some(name), Some(place)) = (
            identity.get_mut(..user.len() + 1),
            secret.get_mut(..key.key.len()),
        ) else {
            return Ok(0);
        };
        name[..user.len()].copy_from_slice(user);
        name[user.len()] = 0;
        place.copy_from_slice(&key.key);
        Ok(key.key.len())
    });
    Ok(())
}

/// OpenSSL's words for a file that cannot be opened are none for people.
fn readable(path: &Path) -> Result<&Path, NbdFailure> {
    // The library takes paths as text.
    if path.to_str().is_none_or(|text| text.contains('\0')) {
        return Err(bad_file(path, "has a path that is not UTF-8"));
    }
    std::fs::File::open(path)
        .map(|_| path)
        .map_err(|error| bad_file(path, &format!("cannot be read: {error}")))
}

fn is_there(path: &Path) -> Result<bool, NbdFailure> {
    path.try_exists()
        .map_err(|error| bad_file(path, &format!("cannot be looked at: {error}")))
}

fn bad_file(path: &Path, why: &str) -> NbdFailure {
    NbdFailure::new(libc::ENOKEY, format!("{} {why}", path.display()))
}

fn unusable(stack: ErrorStack) -> NbdFailure {
    let message = format!("TLS cannot be set up: {}", words_of(Some(&stack)));
    NbdFailure::new(libc::EINVAL, message)
}

/// The reasons of the library, without its numbers, files and lines.
pub fn words_of(stack: Option<&ErrorStack>) -> String {
    let reasons: Vec<&str> = stack
        .map(ErrorStack::errors)
        .unwrap_or_default()
        .iter()
        .filter_map(|error| error.reason())
        .collect();
    if reasons.is_empty() {
        return "it is not said why".to_owned();
    }
    reasons.join(", ")
}
