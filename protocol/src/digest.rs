//! The `digest` scheme's identity: a user's name, and the SHA-1 of name and password.
//!
//! SHA-1 is what ZooKeeper uses unless its servers are told otherwise
//! (`zookeeper.DigestAuthenticationProvider.digestAlg`, since 3.7). It is written out here, since
//! this is its only use, and nothing but an access control list is protected by it: such a hash
//! has no salt and is quick to guess at, so ZooKeeper shows it only to a node's administrators.
//!
//! ```
//! use homing_protocol::digest;
//! assert_eq!(digest::id("bob", "pw"), "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
//! ```

/// `user:base64(sha1(user:password))`. What held the password meanwhile is wiped.
///
/// ZooKeeper takes a name to end at its first colon, and so does this.
///
/// ```
/// use homing_protocol::digest;
/// assert_eq!(digest::id("bob", "pw"), digest::id_of("bob:pw"));
/// ```
pub fn id(user: &str, password: &str) -> String {
    render(user, sha1(&[user.as_bytes(), b":", password.as_bytes()]))
}

/// The same of credentials as they are sent, `user:password`. Without a colon all of it is the
/// user's name, and all of it is hashed, as ZooKeeper has it.
///
/// ```
/// assert!(homing_protocol::digest::id_of("nobody").starts_with("nobody:"));
/// ```
pub fn id_of(credentials: &str) -> String {
    render(credentials, sha1(&[credentials.as_bytes()]))
}

fn render(name: &str, hash: [u8; 20]) -> String {
    let user = name.split_once(':').map_or(name, |(user, _)| user);
    format!("{user}:{}", base64(&hash))
}

/// Of the pieces, one behind the other.
fn sha1(pieces: &[&[u8]]) -> [u8; 20] {
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    // A one, zeros up to eight bytes before the end of a block, and the length in bits.
    let zeros = (64 + 55 - len % 64) % 64;
    let blocks = (len + 1 + zeros + 8) / 64;
    let mut bytes = pieces
        .iter()
        .flat_map(|piece| piece.iter().copied())
        .chain([0x80])
        .chain(std::iter::repeat_n(0, zeros))
        .chain((len as u64 * 8).to_be_bytes());

    let mut state: [u32; 5] = [
        0x6745_2301,
        0xEFCD_AB89,
        0x98BA_DCFE,
        0x1032_5476,
        0xC3D2_E1F0,
    ];
    let mut words = [0_u32; 16];
    for _ in 0..blocks {
        for word in &mut words {
            *word = u32::from_be_bytes(std::array::from_fn(|_| bytes.next().unwrap_or(0)));
        }
        state = compress(state, &mut words);
    }
    // The message can be computed from the last words of its schedule. The hint keeps the
    // compiler from leaving out a write that nobody reads.
    words.fill(0);
    std::hint::black_box(&words);

    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// One block. The schedule looks back sixteen words at most, so a window that slides is all it
/// needs: `words` is the block at first and the end of its schedule afterwards.
fn compress(state: [u32; 5], words: &mut [u32; 16]) -> [u32; 5] {
    let [mut a, mut b, mut c, mut d, mut e] = state;
    for round in 0..80 {
        let [w0, _, w2, _, _, _, _, _, w8, _, _, _, _, w13, _, _] = *words;
        let (mix, constant) = match round {
            0..20 => ((b & c) | (!b & d), 0x5A82_7999),
            20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC_u32),
            _ => (b ^ c ^ d, 0xCA62_C1D6),
        };
        let turn = a
            .rotate_left(5)
            .wrapping_add(mix)
            .wrapping_add(e)
            .wrapping_add(constant)
            .wrapping_add(w0);
        (a, b, c, d, e) = (turn, a, b.rotate_left(30), c, d);
        words.rotate_left(1);
        let [.., last] = words;
        *last = (w0 ^ w2 ^ w8 ^ w13).rotate_left(1);
    }
    let [s0, s1, s2, s3, s4] = state;
    [
        s0.wrapping_add(a),
        s1.wrapping_add(b),
        s2.wrapping_add(c),
        s3.wrapping_add(d),
        s4.wrapping_add(e),
    ]
}

/// The standard alphabet, padded.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let symbol = ALPHABET.get((bits >> (18 - 6 * place) & 0x3F) as usize);
            let padding = place > chunk.len();
            text.push(if padding {
                '='
            } else {
                char::from(*symbol.unwrap_or(&b'='))
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, id, id_of, sha1};

    #[test]
    fn sha1_agrees_with_the_standard() {
        let hex = |message: &[u8]| sha1(&[message]).map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(two_blocks), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        let million = vec![b'a'; 1_000_000];
        assert_eq!(hex(&million), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }

    /// Around the lengths at which the padding takes another block.
    #[test]
    fn pieces_are_hashed_as_one() {
        let message = [b'x'; 130];
        for len in 0..message.len() {
            let whole = sha1(&[&message[..len]]);
            let (head, tail) = message[..len].split_at(len / 3);
            assert_eq!(sha1(&[head, tail]), whole, "{len}");
        }
    }

    #[test]
    fn base64_agrees_with_the_standard() {
        let rows = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (plain, coded) in rows {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn ids_are_those_of_a_real_server() {
        assert_eq!(id("bob", "pw"), "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
        assert_eq!(id_of("bob:pw"), id("bob", "pw"));
        // Whoever authenticates as this is "a" to a server.
        assert_eq!(id("a:b", "c"), id_of("a:b:c"));
        assert!(id_of("a:b:c").starts_with("a:"));
        assert!(id_of("nocolon").starts_with("nocolon:"));
    }
}
