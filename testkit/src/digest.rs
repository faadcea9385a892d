//! The `digest` scheme's identity: a user's name and the SHA-1 of name and password.
//!
//! SHA-1 is what ZooKeeper uses unless a server is told otherwise. It is written out here, since
//! this is its only use and nothing is protected by it: the identities of a fake server.

/// `user:base64(sha1(credentials))`, where the user is what stands before the first colon; with
/// no colon it is the whole text, as ZooKeeper has it.
pub(crate) fn identity(credentials: &str) -> String {
    let user = credentials
        .split_once(':')
        .map_or(credentials, |(user, _)| user);
    format!("{user}:{}", base64(&sha1(credentials.as_bytes())))
}

fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [
        0x6745_2301,
        0xEFCD_AB89,
        0x98BA_DCFE,
        0x1032_5476,
        0xC3D2_E1F0,
    ];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        state = sha1_block(state, block);
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn sha1_block(state: [u32; 5], block: &[u8]) -> [u32; 5] {
    let words = block
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_be_bytes(*bytes));
    // The schedule looks back sixteen words at most: a window that slides is all it needs.
    let mut window: std::collections::VecDeque<u32> = words.collect();
    let [mut a, mut b, mut c, mut d, mut e] = state;
    for round in 0..80 {
        let back = |by: usize| window.get(16 - by).copied().unwrap_or(0);
        let next = (back(3) ^ back(8) ^ back(14) ^ back(16)).rotate_left(1);
        let word = window.pop_front().unwrap_or(0);
        window.push_back(next);
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
            .wrapping_add(word);
        (a, b, c, d, e) = (turn, a, b.rotate_left(30), c, d);
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
    use super::{base64, identity, sha1};

    #[test]
    fn sha1_agrees_with_the_standard() {
        let hex = |message: &[u8]| sha1(message).map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(two_blocks), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
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
    fn identities_are_those_of_a_real_server() {
        assert_eq!(identity("bob:pw"), "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
        assert!(identity("nocolon").starts_with("nocolon:"));
    }
}
