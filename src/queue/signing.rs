//! What is put before a message that leaves by SMTP, so that others can tell who answers for it.

use std::sync::Arc;

use crate::authentication::{Algorithm, Keys, seal};
use crate::delivery::body::Body;
use crate::mail::address::Domain;
use crate::mail::headers;
use crate::net::dns::Resolver;
use crate::store::{self, Source};

/// Signs with the keys of our domains.
pub struct Signing {
    /// The keys.
    pub keys: Arc<Keys>,
    /// Shows whether a chain of ARC holds.
    pub resolver: Arc<dyn Resolver>,
    /// This host, as it names itself in results.
    pub host: Domain,
    /// Whether what is only passed on goes under seal.
    pub arc: bool,
}

impl Signing {
    /// The fields for a message as `body` gives it; none if nobody here has keys, or answers for it. `now` in unix seconds.
    ///
    /// A domain of ours answers for the mail of its users, programs and hosts, this host for its own reports, and neither for what is only
    /// passed on: that goes under seal, where that is wanted, and is otherwise left as it came.
    pub async fn fields(&self, source: &Source, body: &mut Body, now: u64) -> Result<Vec<u8>, store::Error> {
        let domain = match source {
            Source::Submission(author) => author.domain(),
            Source::Trusted(Some(domain)) => domain,
            Source::Local => &self.host,
            // What programs of this host send under it.
            Source::Domain(domain) => domain,
            Source::Smtp | Source::Dmtp(_) if self.arc => &self.host,
            _ => return Ok(Vec::new()),
        };
        let signers = self.keys.signers(domain).await?;
        if signers.is_empty() {
            return Ok(Vec::new());
        }
        let Some((header, bodies)) = body.to_be_signed().await? else {
            return Ok(Vec::new());
        };
        let block = headers::split(&header).block;
        if !matches!(source, Source::Smtp | Source::Dmtp(_)) {
            let fields = signers.iter().map(|signer| signer.sign(block, &bodies, now));
            return Ok(fields.collect::<Vec<_>>().concat());
        }
        // Few can check any other seal.
        let signer = signers
            .iter()
            .find(|signer| signer.key.algorithm() == Algorithm::RsaSha256);
        let Some(signer) = signer else {
            return Ok(Vec::new());
        };
        let set = seal(self.resolver.as_ref(), signer, &self.host, block, &bodies, now).await;
        Ok(set.unwrap_or_default())
    }
}
