//! Who may do what: identities, access control lists, and the rules that join them.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use homing_protocol::incoming::{self, AclEntry};
use homing_protocol::{Acl, ErrorCode, Id, digest, permission};

use crate::java;
use crate::x509;

/// How lists are checked, where servers differ.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Whatever is not known goes unheard, and nothing is as good as everything.
    pub(crate) lenient: bool,
    /// No list at all breaks the request down, instead of being as good as an empty one.
    pub(crate) null_breaks: bool,
    /// So does an entry without a scheme; and what `auth` stands for goes to the end.
    pub(crate) old: bool,
    /// The scheme `ip` knows whole addresses only.
    pub(crate) no_subnets: bool,
    /// The scheme `ip` knows addresses of IPv6.
    pub(crate) ipv6: bool,
}

/// The identities of one connection. They are lost with it.
#[derive(Debug, Clone)]
pub(crate) struct Identities {
    /// No duplicates, in the order in which they were added.
    ids: Vec<Id>,
    /// Lists may have entries of the scheme `sasl`.
    knows_sasl: bool,
    /// Whether the server knows the scheme `x509`.
    pub(crate) knows_x509: bool,
}

impl Identities {
    /// What every connection starts with: its peer's address.
    pub(crate) fn new(peer: IpAddr) -> Self {
        Self {
            ids: vec![id("ip", &java_text(peer))],
            knows_sasl: false,
            knows_x509: false,
        }
    }

    /// The same, at a server that has SASL or not.
    pub(crate) fn with_sasl(self, knows_sasl: bool) -> Self {
        Self { knows_sasl, ..self }
    }

    /// What the server does on its own account is done by nobody: nothing is checked.
    pub(crate) fn nobody() -> Self {
        Self {
            ids: Vec::new(),
            knows_sasl: false,
            knows_x509: false,
        }
    }

    /// Handles an authentication. Refused are schemes that nobody here can judge.
    pub(crate) fn authenticate(
        &mut self,
        scheme: Option<&str>,
        credentials: Option<&[u8]>,
        super_digest: Option<&str>,
    ) -> Result<(), ErrorCode> {
        match (scheme, credentials) {
            (Some("digest"), Some(credentials)) => {
                let identity = digest::id_of(&incoming::text(credentials));
                if super_digest == Some(identity.as_str()) {
                    self.add(id("super", ""));
                }
                self.add(id("digest", &identity));
                Ok(())
            }
            // The address was there from the beginning.
            (Some("ip"), _) => Ok(()),
            // And so was the certificate, if there is one.
            (Some("x509"), _) if self.ids.iter().any(|id| id.scheme == "x509") => Ok(()),
            _ => Err(ErrorCode::AuthFailed),
        }
    }

    /// The name that SASL has proved.
    pub(crate) fn add_sasl(&mut self, name: &str, is_super: bool) {
        self.add(id("sasl", name));
        if is_super {
            self.add(id("super", ""));
        }
    }

    /// Whether it has proved who it is by one of these schemes.
    pub(crate) fn has_any(&self, schemes: &[String]) -> bool {
        self.ids.iter().any(|id| schemes.contains(&id.scheme))
    }

    /// Adds what was proved below the protocol.
    pub(crate) fn add_proved(&mut self, scheme: &str, name: &str) {
        self.add(id(scheme, name));
    }

    fn add(&mut self, id: Id) {
        if !self.ids.contains(&id) {
            self.ids.push(id);
        }
    }

    /// Whether any of `needed` is allowed by a node's list.
    pub(crate) fn allowed(&self, acl: &[Acl], needed: i32) -> bool {
        acl.is_empty()
            || self.ids.iter().any(|id| id.scheme == "super")
            || acl
                .iter()
                .any(|entry| entry.permissions & needed != 0 && self.matches(&entry.id))
    }

    fn matches(&self, wanted: &Id) -> bool {
        let mut mine = self.ids.iter().filter(|id| id.scheme == wanted.scheme);
        match wanted.scheme.as_str() {
            "world" => wanted.id == "anyone",
            "ip" => {
                mine.any(|id| Subnet::parse(&wanted.id).is_some_and(|net| net.contains(&id.id)))
            }
            // A name of that kind fits every entry.
            "sasl" => mine.any(|id| id.id == "super" || id.id == wanted.id),
            _ => mine.any(|id| id.id == wanted.id),
        }
    }

    /// Scheme and user of each identity, sorted, without the part of a digest that is secret.
    /// Who has two passwords is listed twice.
    pub(crate) fn who_am_i(&self) -> Vec<(&str, &str)> {
        let mut who: Vec<_> = self
            .ids
            .iter()
            .map(|id| (id.scheme.as_str(), user(id)))
            .collect();
        who.sort_unstable();
        who
    }

    /// Checks a list that a client sent, and puts the connection's own identities in the place
    /// of scheme `auth`.
    pub(crate) fn resolve(
        &self,
        list: Option<&[AclEntry]>,
        rules: Rules,
    ) -> Result<Arc<[Acl]>, ErrorCode> {
        if rules.lenient {
            return self.resolve_leniently(list.unwrap_or_default());
        }
        if list.is_none() && rules.null_breaks {
            return Err(ErrorCode::MarshallingError);
        }
        let mut unique: Vec<&AclEntry> = Vec::new();
        for entry in list.unwrap_or_default() {
            let mut known = false;
            for other in &unique {
                known = is_same(entry, other)?;
                if known {
                    break;
                }
            }
            if !known {
                unique.push(entry);
            }
        }
        if unique.is_empty() {
            return Err(ErrorCode::InvalidAcl);
        }
        let (mut resolved, mut last) = (Vec::new(), Vec::new());
        for entry in unique {
            let is_last = rules.old && entry.scheme.as_deref() == Some("auth");
            let list = if is_last { &mut last } else { &mut resolved };
            self.resolve_entry(entry, rules, list)?;
        }
        resolved.append(&mut last);
        Ok(resolved.into())
    }

    fn resolve_leniently(&self, list: &[AclEntry]) -> Result<Arc<[Acl]>, ErrorCode> {
        if list.is_empty() {
            return Ok(Arc::new([Acl::open()]));
        }
        let mut resolved = Vec::new();
        for entry in list {
            let permissions = entry.permissions;
            let (scheme, name) = (entry.scheme.as_deref(), entry.id.as_deref());
            match (scheme, name.unwrap_or_default()) {
                (Some("auth"), _) => {
                    let mine = self.ids.iter().filter(|id| id.scheme == "digest").cloned();
                    resolved.extend(mine.map(|id| Acl { permissions, id }));
                }
                (Some("world"), "anyone") => resolved.push(Acl {
                    permissions,
                    id: id("world", "anyone"),
                }),
                (Some("digest"), name) if name.matches(':').count() == 1 => resolved.push(Acl {
                    permissions,
                    id: id("digest", name),
                }),
                (Some("digest"), _) => return Err(ErrorCode::InvalidAcl),
                _ => {}
            }
        }
        match resolved.is_empty() {
            true => Err(ErrorCode::InvalidAcl),
            false => Ok(resolved.into()),
        }
    }

    fn resolve_entry(
        &self,
        entry: &AclEntry,
        rules: Rules,
        resolved: &mut Vec<Acl>,
    ) -> Result<(), ErrorCode> {
        let permissions = entry.permissions;
        let no_scheme = match rules.old {
            true => ErrorCode::MarshallingError,
            false => ErrorCode::InvalidAcl,
        };
        let scheme = entry.scheme.as_deref().ok_or(no_scheme)?;
        if scheme == "auth" {
            // Of the schemes here these prove who somebody is.
            let proves = |id: &&Id| matches!(id.scheme.as_str(), "digest" | "sasl" | "x509");
            let mine = self.ids.iter().filter(proves);
            let before = resolved.len();
            resolved.extend(mine.map(|id| Acl {
                permissions,
                id: id.clone(),
            }));
            return if resolved.len() > before {
                Ok(())
            } else {
                Err(ErrorCode::InvalidAcl)
            };
        }
        let is_known = match scheme {
            "world" | "digest" | "ip" => true,
            "sasl" => self.knows_sasl,
            "x509" => self.knows_x509,
            _ => false,
        };
        if !is_known {
            return Err(ErrorCode::InvalidAcl);
        }
        // A provider that is asked about null breaks down, which the client sees as −5.
        let name = entry.id.as_deref().ok_or(ErrorCode::MarshallingError)?;
        let valid = match scheme {
            "world" => name == "anyone",
            "x509" => x509::is_name(name),
            // Java splits at colons, and finds nothing behind those at the end.
            "digest" => name.trim_end_matches(':').matches(':').count() == 1,
            "sasl" => is_kerberos_name(name),
            _ => Subnet::parse(name).is_some_and(|net| {
                (rules.ipv6 || !net.is_ipv6) && !(rules.no_subnets && name.contains('/'))
            }),
        };
        if !valid {
            return Err(ErrorCode::InvalidAcl);
        }
        resolved.push(Acl {
            permissions,
            id: id(scheme, name),
        });
        Ok(())
    }

    /// What getACL shows: without ADMIN, digests lose the part that would be worth stealing.
    pub(crate) fn redact(&self, acl: &Arc<[Acl]>) -> Arc<[Acl]> {
        if self.allowed(acl, permission::ADMIN) {
            return Arc::clone(acl);
        }
        let entry = |entry: &Acl| match &*entry.id.scheme {
            "digest" => Acl {
                permissions: entry.permissions,
                id: id("digest", &without_secret(&entry.id.id)),
            },
            _ => entry.clone(),
        };
        acl.iter().map(entry).collect()
    }
}

/// An `x` for everything behind a colon, up to the end of the line, where Java's pattern ends too.
fn without_secret(id: &str) -> String {
    let mut shown = String::new();
    let mut is_secret = false;
    for c in id.chars() {
        is_secret &= !matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
        if is_secret {
            continue;
        }
        shown.push(c);
        if c == ':' {
            shown.push('x');
            is_secret = true;
        }
    }
    shown
}

/// Whether an entry is an exact duplicate of an earlier one. Java's comparison breaks down on
/// null, if it comes that far, which the client sees as −5.
fn is_same(entry: &AclEntry, earlier: &AclEntry) -> Result<bool, ErrorCode> {
    if entry.permissions != earlier.permissions {
        return Ok(false);
    }
    let scheme = entry.scheme.as_ref().ok_or(ErrorCode::MarshallingError)?;
    if Some(scheme) != earlier.scheme.as_ref() {
        return Ok(false);
    }
    let id = entry.id.as_ref().ok_or(ErrorCode::MarshallingError)?;
    Ok(Some(id) == earlier.id.as_ref())
}

/// Whom an identity is about: of a digest, what stands before the hash.
fn user(id: &Id) -> &str {
    match id.id.split_once(':') {
        Some((user, _)) if id.scheme == "digest" => user,
        _ => &id.id,
    }
}

/// Any name at all; with an `@` in it, `name[/host]@realm`.
fn is_kerberos_name(name: &str) -> bool {
    match name.split_once('@') {
        None => true,
        Some((who, realm)) => !realm.contains(['/', '@']) && who.matches('/').count() <= 1,
    }
}

/// The address part of an `ip` entry: an address and how many of its bits count.
struct Subnet {
    address: u128,
    mask: u128,
    is_ipv6: bool,
}

impl Subnet {
    fn parse(text: &str) -> Option<Self> {
        let (text, bits) = match text.split_once('/') {
            Some((text, bits)) => (text, Some(java::number::<i32>(bits)?)),
            None => (text, None),
        };
        let (address, is_ipv6) = parse_address(text)?;
        let len = if is_ipv6 { 128 } else { 32 };
        let bits = bits.map_or(Some(len), |bits| u32::try_from(bits).ok())?;
        let mask = u128::MAX.checked_shl(len.checked_sub(bits)?).unwrap_or(0);
        Some(Self {
            address,
            mask,
            is_ipv6,
        })
    }

    fn contains(&self, address: &str) -> bool {
        parse_address(address).is_some_and(|(address, is_ipv6)| {
            is_ipv6 == self.is_ipv6 && address & self.mask == self.address & self.mask
        })
    }
}

/// An address, and whether it is one of IPv6.
fn parse_address(text: &str) -> Option<(u128, bool)> {
    match text.contains(':') {
        // A server has no place for a quad at its end.
        true if text.contains('.') => None,
        true => text
            .parse()
            .ok()
            .map(|address: Ipv6Addr| (address.to_bits(), true)),
        false => parse_quad(text).map(|quad| (quad.into(), false)),
    }
}

/// Four decimal numbers, with leading zeros and signs if they like: the server reads them as
/// numbers.
fn parse_quad(text: &str) -> Option<u32> {
    let mut parts = text.split('.');
    let mut quad = 0;
    for _ in 0..4 {
        let part: i32 = java::number(parts.next()?)?;
        quad = quad << 8 | u32::from(u8::try_from(part).ok()?);
    }
    parts.next().is_none().then_some(quad)
}

/// An address as Java writes it: IPv6 in eight groups, nothing left out.
pub(crate) fn java_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address
            .segments()
            .map(|group| format!("{group:x}"))
            .join(":"),
    }
}

fn id(scheme: &str, id: &str) -> Id {
    Id {
        scheme: scheme.to_owned(),
        id: id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Identities, Rules, Subnet, without_secret};
    use homing_protocol::incoming::AclEntry;
    use homing_protocol::{Acl, ErrorCode, permission};

    fn connection() -> Identities {
        Identities::new([127, 0, 0, 1].into())
    }

    fn authenticated(credentials: &[&str]) -> Identities {
        let mut ids = connection();
        for credentials in credentials {
            ids.authenticate(Some("digest"), Some(credentials.as_bytes()), None)
                .unwrap();
        }
        ids
    }

    fn entry(scheme: &str, id: &str) -> AclEntry {
        AclEntry {
            permissions: 31,
            scheme: Some(scheme.into()),
            id: Some(id.into()),
        }
    }

    #[test]
    fn entries_are_checked_as_the_server_does() {
        let rows = [
            ("world", "anyone", true),
            ("world", "somebody", false),
            ("digest", "bob:hash", true),
            ("digest", ":hash", true),
            ("digest", "bob:", false),
            ("digest", "bob", false),
            ("digest", "bob:a:b", false),
            ("digest", "bob::a", false),
            ("digest", "bob:a::", true),
            ("digest", ":a:", true),
            ("digest", "::", false),
            ("ip", "10.0.0.1", true),
            ("ip", "+10.-0.010.\u{664}", true),
            ("ip", "-1.0.0.0", false),
            ("ip", "10.0.0.1/-0", true),
            ("ip", "10.0.0.1/\u{663}", true),
            ("ip", "10.0.0.1/-1", false),
            ("ip", "10.0.0.1/", false),
            ("ip", "10.0.0.0/8", true),
            ("ip", "10.0.0.0/0", true),
            ("ip", "10.0.0.0/33", false),
            ("ip", "10.0.0", false),
            ("ip", "10.0.0.256", false),
            ("ip", "::1", false),
            ("sasl", "bob", false),
            ("super", "", false),
            ("auth", "", false),
        ];
        for (scheme, id, valid) in rows {
            let result = connection().resolve(Some(&[entry(scheme, id)]), Rules::default());
            assert_eq!(result.is_ok(), valid, "{scheme}:{id}");
        }
    }

    #[test]
    fn a_server_with_sasl_takes_names_of_its_scheme() {
        let rows = [
            ("bob", true),
            ("", true),
            ("bob/host", true),
            ("a/b/c", true),
            ("bob@REALM", true),
            ("bob/host@REALM", true),
            ("bob/a/b@REALM", false),
            ("bob@A@B", false),
            ("bob@A/b", false),
        ];
        for (id, valid) in rows {
            let ids = connection().with_sasl(true);
            let result = ids.resolve(Some(&[entry("sasl", id)]), Rules::default());
            assert_eq!(result.is_ok(), valid, "{id}");
        }
    }

    #[test]
    fn a_name_that_sasl_has_proved_is_an_identity() {
        let mut bob = connection().with_sasl(true);
        let acl = bob
            .resolve(Some(&[entry("sasl", "bob")]), Rules::default())
            .unwrap();
        assert!(!bob.allowed(&acl, permission::READ));
        bob.add_sasl("bob", false);
        assert!(bob.allowed(&acl, permission::READ));
        assert_eq!(
            bob.resolve(Some(&[entry("auth", "")]), Rules::default())
                .unwrap(),
            acl
        );
        assert_eq!(bob.who_am_i(), [("ip", "127.0.0.1"), ("sasl", "bob")]);
        let mut everybody = connection();
        everybody.add_sasl("super", false);
        assert!(everybody.allowed(&acl, permission::READ));
    }

    #[test]
    fn null_is_told_apart() {
        let ids = connection();
        let null_id = AclEntry {
            id: None,
            ..entry("world", "")
        };
        let null_scheme = AclEntry {
            scheme: None,
            ..entry("", "anyone")
        };
        assert_eq!(
            ids.resolve(Some(&[null_id]), Rules::default()),
            Err(ErrorCode::MarshallingError)
        );
        assert_eq!(
            ids.resolve(Some(&[null_scheme]), Rules::default()),
            Err(ErrorCode::InvalidAcl)
        );
        assert_eq!(
            ids.resolve(None, Rules::default()),
            Err(ErrorCode::InvalidAcl)
        );
        assert_eq!(
            ids.resolve(Some(&[]), Rules::default()),
            Err(ErrorCode::InvalidAcl)
        );
    }

    #[test]
    fn exact_duplicates_go_and_auth_stands_for_all_digests() {
        let ids = authenticated(&["bob:pw", "eve:pw"]);
        let world = entry("world", "anyone");
        let list = [world.clone(), entry("auth", "ignored"), world];
        let resolved = ids.resolve(Some(&list), Rules::default()).unwrap();
        let schemes: Vec<_> = resolved.iter().map(|acl| &acl.id.id[..3]).collect();
        assert_eq!(schemes, ["any", "bob", "eve"]);
    }

    #[test]
    fn a_digest_matches_and_is_redacted_for_others() {
        let bob = authenticated(&["bob:pw"]);
        let acl = bob
            .resolve(Some(&[entry("auth", "")]), Rules::default())
            .unwrap();
        assert!(bob.allowed(&acl, permission::READ));
        assert!(!connection().allowed(&acl, permission::READ));
        assert_eq!(bob.redact(&acl), acl);
        assert_eq!(connection().redact(&acl)[0].id.id, "bob:x");
    }

    #[test]
    fn a_secret_ends_with_its_line() {
        let rows = [
            ("bob:hash", "bob:x"),
            ("bob:a:", "bob:x"),
            (":", ":x"),
            ("bob", "bob"),
            ("a\n:b", "a\n:x"),
            ("bob:ha\nsh", "bob:x\nsh"),
            ("bob:h\u{2028}x:", "bob:x\u{2028}x:x"),
            ("b:h\r\n\u{85}\u{2029}\u{b}", "b:x\r\n\u{85}\u{2029}\u{b}"),
        ];
        for (id, shown) in rows {
            assert_eq!(without_secret(id), shown, "{id:?}");
        }
    }

    #[test]
    fn credentials_are_read_as_java_reads_them() {
        let mut ids = connection();
        let credentials = b"\xED\xA0\xBD\xED\xB8\x80:x";
        ids.authenticate(Some("digest"), Some(credentials), None)
            .unwrap();
        let same = authenticated(&["\u{FFFD}\u{FFFD}:x"]);
        assert_eq!(ids.ids, same.ids);
    }

    #[test]
    fn super_may_do_anything() {
        let digest = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";
        let mut ids = connection();
        ids.authenticate(Some("digest"), Some(b"super:admin"), Some(digest))
            .unwrap();
        assert!(ids.allowed(
            &[Acl {
                permissions: 0,
                ..Acl::open()
            }],
            permission::WRITE
        ));
        assert_eq!(
            ids.who_am_i(),
            [("digest", "super"), ("ip", "127.0.0.1"), ("super", "")]
        );
    }

    #[test]
    fn subnets_compare_their_first_bits() {
        let within = |net: &str, address| Subnet::parse(net).unwrap().contains(address);
        assert!(within("10.1.2.3/8", "10.9.9.9"));
        assert!(!within("10.1.2.3/16", "10.9.9.9"));
        assert!(within("10.1.2.3/0", "192.168.0.1"));
        assert!(within("10.1.2.3", "10.1.2.3"));
        assert!(!within("0.0.0.0/0", "0:0:0:0:0:0:0:1"));
    }

    #[test]
    fn an_address_reads_as_java_writes_it() {
        let ids = Identities::new("::1".parse().unwrap());
        assert_eq!(ids.who_am_i(), [("ip", "0:0:0:0:0:0:0:1")]);
        let ids = Identities::new("::ffff:10.0.0.1".parse().unwrap());
        assert_eq!(ids.who_am_i(), [("ip", "10.0.0.1")]);
    }
}
