//! Writing a record (`management-record.md` §3.1, §10.2).

use super::{Error, ManagementRecord};
use crate::base::encoding::base64_unpadded;
use crate::base::zone_text::character_strings;

impl ManagementRecord {
    /// The record's text, fields in the order `ver pok… tls… pol syn dx… exp sub` with single spaces.
    ///
    /// The text is read back before it is handed out; [`Error::NotRepresentable`] or the parser's error if it would
    /// not give this record.
    pub fn render(&self) -> Result<String, Error> {
        let text = self.fields().join(" ");
        self.reads_back(Self::parse(&text)).map(|()| text)
    }

    /// The same text for ourselves, as long as it may get: every record that was read can be kept.
    pub fn render_kept(&self) -> Result<String, Error> {
        let text = self.fields().join(" ");
        self.reads_back(Self::parse_kept(&text)).map(|()| text)
    }

    /// The text as a zone file has it: quoted character-strings of at most 255 octets, separated by a space.
    pub fn render_zone_text(&self) -> Result<String, Error> {
        Ok(character_strings(self.render()?))
    }

    fn reads_back(&self, read: Result<Self, Error>) -> Result<(), Error> {
        match read? == *self {
            true => Ok(()),
            false => Err(Error::NotRepresentable),
        }
    }

    fn fields(&self) -> Vec<String> {
        let mut fields = vec![String::from("ver=1")];
        fields.extend(
            self.primary_keys
                .iter()
                .map(|key| format!("pok={}", base64_unpadded(&key.0))),
        );
        let signatures = self.tls_signatures.iter();
        fields.extend(signatures.map(|signature| format!("tls={}", base64_unpadded(&signature.0))));
        fields.push(format!("pol={}", self.policy));
        fields.extend(self.syndicates.iter().map(|text| format!("syn={text}")));
        fields.extend(self.delivery_hosts.iter().map(|host| format!("dx={host}")));
        fields.extend(self.expiry_days.iter().map(|days| format!("exp={days}")));
        fields.push(format!("sub={}", self.subdomain_policy));
        fields
    }
}
