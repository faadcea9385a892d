//! An initial tree in JSON or YAML.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use homing_protocol::{Acl, permission};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{INVALID_PATH, InitialNode, InitialTree, TreeError, entry};
use crate::acl::{Identities, Rules};
use crate::path;

impl InitialTree {
    /// Reads a file: JSON if its name ends in `.json`, YAML if it ends in `.yaml` or `.yml`. What
    /// is in it [stands above](Self#the-file).
    ///
    /// ```
    /// use homing_testkit::InitialTree;
    /// let error = InitialTree::from_file("missing.yaml").unwrap_err();
    /// assert!(error.to_string().starts_with("cannot read missing.yaml: "), "{error}");
    /// ```
    ///
    /// # Errors
    /// It cannot be read, or is not such a file; the error says where it is wrong.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TreeError> {
        let path = path.as_ref();
        let shown = path.display();
        let extension = path.extension().map(|it| it.to_ascii_lowercase());
        let parse = match extension.as_ref().and_then(|it| it.to_str()) {
            Some("json") => Self::from_json,
            Some("yaml" | "yml") => Self::from_yaml,
            _ => {
                return Err(TreeError::new(format!(
                    "cannot tell what {shown} is: its name has to end in .json, .yaml or .yml"
                )));
            }
        };
        let text = fs::read_to_string(path)
            .map_err(|error| TreeError::new(format!("cannot read {shown}: {error}")))?;
        parse(&text).map_err(|error| TreeError::new(format!("{shown}: {error}")))
    }

    /// Reads JSON, as the YAML that it is.
    ///
    /// ```
    /// use homing_testkit::InitialTree;
    /// let tree = InitialTree::from_json(r#"{ "/app/config": "v1", "/app/key": {} }"#)?;
    /// assert_eq!(tree.nodes().count(), 2);
    /// let error = InitialTree::from_json(r#"{ "/app": 5 }"#).unwrap_err();
    /// assert!(error.to_string().ends_with("at line 1 column 11"), "{error}");
    /// # Ok::<(), homing_testkit::TreeError>(())
    /// ```
    ///
    /// # Errors
    /// It is no JSON, or no tree; the error says where it is wrong.
    pub fn from_json(text: &str) -> Result<Self, TreeError> {
        Self::from_yaml(&join_surrogates(text))
    }

    /// Reads YAML.
    ///
    /// ```
    /// use homing_testkit::InitialTree;
    /// let tree = InitialTree::from_yaml("/app/config: v1\n/app/workers: { container: true }\n")?;
    /// let (path, node) = tree.nodes().next().unwrap();
    /// assert_eq!((path, &node.data[..]), ("/app/config", &b"v1"[..]));
    /// # Ok::<(), homing_testkit::TreeError>(())
    /// ```
    ///
    /// # Errors
    /// It is no YAML, or no tree; the error says where it is wrong.
    pub fn from_yaml(text: &str) -> Result<Self, TreeError> {
        yaml_serde::from_str(text).map_err(|error| TreeError::new(error.to_string()))
    }
}

/// The one thing in JSON that YAML does not know: characters above U+FFFF as two escapes.
fn join_surrogates(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (front, escape) = rest.split_at(at);
        joined.push_str(front);
        let len = match surrogates(escape) {
            Some(character) => {
                joined.push_str(&format!("\\U{:08x}", u32::from(character)));
                "\\ud83d\\ude00".len()
            }
            None => {
                // What stands behind the backslash is no backslash of its own.
                let len = escape.chars().take(2).map(char::len_utf8).sum();
                joined.push_str(escape.get(..len).unwrap_or_default());
                len
            }
        };
        rest = escape.get(len..).unwrap_or_default();
    }
    joined.push_str(rest);
    joined
}

/// The character that two escapes at the front of this make together.
fn surrogates(text: &str) -> Option<char> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u16::from_str_radix(digits, 16).ok().filter(|_| is_number)
    };
    let units = [unit(0)?, unit(6)?];
    let mut characters = char::decode_utf16(units);
    let character = characters.next()?.ok()?;
    characters.next().is_none().then_some(character)
}

impl<'de> Deserialize<'de> for InitialTree {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Nodes)
    }
}

/// The outermost object.
struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = InitialTree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with paths for its keys")
    }

    /// An empty file in YAML.
    fn visit_none<E>(self) -> Result<InitialTree, E> {
        Ok(InitialTree::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InitialTree, A::Error> {
        let mut tree = InitialTree::new();
        while let Some(path) = map.next_key_seed(NextPath(&tree))? {
            let Named(node) = map.next_value()?;
            tree.nodes.insert(path, node);
        }
        Ok(tree)
    }
}

/// A path that is not there yet. It is judged while the reader knows where it stands.
struct NextPath<'a>(&'a InitialTree);

impl<'de> DeserializeSeed<'de> for NextPath<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<String, D::Error> {
        text(input, |path| {
            if !path::is_valid(path) {
                return Err(format!("{path:?}: {INVALID_PATH}"));
            }
            if self.0.nodes.contains_key(path) {
                return Err(format!("{path:?} is there twice"));
            }
            Ok(path.to_owned())
        })
    }
}

/// Text with a meaning. It is judged while the reader still knows where it stands.
fn text<'de, D: Deserializer<'de>, T>(
    input: D,
    judge: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Text<F>(F);

    impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            self.0(text).map_err(E::custom)
        }
    }

    input.deserialize_str(Text(judge))
}

/// A node as it stands behind its path.
struct Named(InitialNode);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Node).map(Self)
    }
}

struct Node;

/// What a node may have.
const FIELDS: &[&str] = &[
    "data",
    "base64",
    "acl",
    "container",
    "ttl_ms",
    "next_sequence",
];

impl<'de> Visitor<'de> for Node {
    type Value = InitialNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node's data as text (numbers in quotes), or an object with its fields")
    }

    fn visit_unit<E>(self) -> Result<InitialNode, E> {
        Ok(InitialNode::new())
    }

    fn visit_str<E>(self, data: &str) -> Result<InitialNode, E> {
        Ok(InitialNode::from(data.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InitialNode, A::Error> {
        let mut node = InitialNode::new();
        let mut seen: Vec<String> = Vec::new();
        while let Some(field) = map.next_key::<String>()? {
            if seen.contains(&field) {
                return Err(A::Error::custom(format_args!("{field:?} is there twice")));
            }
            match field.as_str() {
                "data" => node.data = map.next_value::<String>()?.into(),
                "base64" => node.data = map.next_value::<Base64>()?.0,
                "acl" => node.acl = map.next_value::<List>()?.0,
                "container" => node.container = map.next_value()?,
                "ttl_ms" => node.ttl = Some(Duration::from_millis(map.next_value()?)),
                "next_sequence" => node.next_sequence = Some(map.next_value()?),
                _ => return Err(A::Error::unknown_field(&field, FIELDS)),
            }
            seen.push(field);
        }
        if ["data", "base64"]
            .iter()
            .all(|field| seen.iter().any(|it| it == field))
        {
            return Err(A::Error::custom(
                "both data and base64: a node has one of them",
            ));
        }
        Ok(node)
    }
}

struct Base64(Bytes);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        text(input, |text| {
            let data = STANDARD.decode(text);
            let data = data.map_err(|error| format!("this is no base64: {error}"))?;
            Ok(Self(data.into()))
        })
    }
}

/// An access control list; one entry may stand alone.
struct List(Vec<Acl>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of scheme:id:permissions")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<List, E> {
        let acl = parse_entry(text).map_err(E::custom)?;
        Ok(List(vec![acl]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<List, A::Error> {
        let mut list = Vec::new();
        while let Some(Entry(acl)) = entries.next_element()? {
            list.push(acl);
        }
        Ok(List(list))
    }
}

struct Entry(Acl);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        text(input, |text| parse_entry(text).map(Self))
    }
}

fn parse_entry(text: &str) -> Result<Acl, String> {
    parse_acl(text).map_err(|why| {
        // A hash is nobody's business.
        let scheme = text.split(':').next().unwrap_or_default();
        format!("access control list entry {scheme}:…: {why}")
    })
}

/// An entry of an access control list, `scheme:id:permissions`.
fn parse_acl(text: &str) -> Result<Acl, &'static str> {
    const FORM: &str = "it has to be scheme:id:permissions";
    let (scheme, rest) = text.split_once(':').ok_or(FORM)?;
    let (id, letters) = rest.rsplit_once(':').ok_or(FORM)?;
    let permissions =
        permissions(letters).ok_or("permissions are letters of cdrwa, one at least")?;
    let acl = Acl::new(scheme, id).permissions(permissions);
    // By a server that is set up for everything; the one that loads the node looks once more.
    let mut anybody = Identities::nobody().with_sasl(true);
    anybody.knows_x509 = true;
    let rules = Rules {
        ipv6: true,
        ..Rules::default()
    };
    anybody.resolve(Some(&[entry(&acl)]), rules).map_err(|_| {
        "no server takes this: there are world:anyone, digest:user:hash, ip:address, sasl:user and \
         x509:name"
    })?;
    Ok(acl)
}

fn permissions(letters: &str) -> Option<i32> {
    let mut all = 0;
    for letter in letters.chars() {
        all |= match letter {
            'c' => permission::CREATE,
            'd' => permission::DELETE,
            'r' => permission::READ,
            'w' => permission::WRITE,
            'a' => permission::ADMIN,
            _ => return None,
        };
    }
    (all != 0).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::join_surrogates;

    #[test]
    fn two_escapes_of_json_are_one_of_yaml() {
        for (json, yaml) in [
            (r"a\ud83d\uDE00b", r"a\U0001f600b"),
            (r"\u00e9\n", r"\u00e9\n"),
            // A backslash, and text.
            (r"\\ud83d\ude00", r"\\ud83d\ude00"),
            // Halves, which nothing can be made of.
            (r"\ud83d", r"\ud83d"),
            (r"\ud83d\u0041", r"\ud83d\u0041"),
            (r"\u+83d\ude00", r"\u+83d\ude00"),
            ("\\", "\\"),
            ("\\é", "\\é"),
        ] {
            assert_eq!(join_surrogates(json), yaml, "{json}");
        }
    }
}
